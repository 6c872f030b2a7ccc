"""Table 2 of the MAML paper: `python -m mlcode reproduce maml-sinusoid`.

Trains the paper's network with 10 shots, as its appendix says, with 5, and without the second
derivative, three seeds each; beside it, the network pre-trained on all waves.
"""

import re
import time
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam
from tqdm import tqdm

from mlcode.evaluation import Estimate, evaluate
from mlcode.networks import MLP
from mlcode.optimization.maml import MAML
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.sources.sinusoids import Sinusoids
from mlcode.training import train

STEPS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50)  # inner steps at test
RATES = (0.001, 0.003, 0.01, 0.02, 0.03, 0.05)  # of which the pre-trained network gets its best
SEEDS = (0, 1, 2)
KINDS: dict[str, dict[str, Any]] = {
    "MAML, 10 shots": {"n_shot": 10},
    "MAML, 5 shots": {"n_shot": 5},
    "first-order, 10 shots": {"n_shot": 10, "first_order": True},
    "pre-training": {"n_shot": 10, "n_inner_steps": 0},  # uses the queries only
}
PUBLISHED = {1: 0.67, 5: 0.38, 10: 0.35}  # the error after so many steps; without intervals
SOURCE = ("Finn et al., 2017, table 2", "finn2017")
METRIC = "mean squared error"
DIVERGED = 1e3  # no wave has a mean square above 25, so this is no prediction any more
SETTINGS: dict[str, Any] = {
    "network": "MLP 1-40-40-1, ReLU",
    "inner_lr": 0.01,
    "n_inner_steps": 1,
    "n_tasks": 25,
    "n_query": "as many as shots",
    "n_iterations": 70_000,
    "optimizer": "Adam 1e-3",
    "test": "600 tasks, 100 queries each",
}


def trained(
    n_shot: int, seed: int, options: Options, *, n_inner_steps: int = 1, first_order: bool = False
) -> tuple[MAML, float]:
    """Meta-train at the paper's settings; with no inner steps that is training on all waves.

    Returns:
        The learner and the seconds that training took, compiling included.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)  # the weights; restored on leaving
        learner = MAML(
            MLP(1, 40, 40, 1),
            inner_lr=0.01,
            n_inner_steps=n_inner_steps,
            first_order=first_order,
        ).to(options.device)
    start = time.perf_counter()
    train(
        learner,
        Sinusoids(n_shot=n_shot, n_query=n_shot),  # as many queries as shots, like the paper's code
        n_iterations=options.n_iterations or SETTINGS["n_iterations"],
        n_tasks=SETTINGS["n_tasks"],
        optimizer=Adam(learner.parameters(), 1e-3, fused=True),
        generator=torch.Generator().manual_seed(seed),
        compiled=options.compiled,
        checkpoint=options.checkpoint,
        checkpoint_every=5000,
        progress=False,  # one bar for all of them is enough
    )
    return learner, time.perf_counter() - start


def errors(learner: MAML, n_shot: int, *, inner_lr: float = 0.01) -> list[dict]:
    """The mean squared error on unseen waves after each number of inner steps in `STEPS`.

    A network may diverge on some waves. Then there is no mean, but a median, and the waves that
    diverged are counted.
    """
    test = Sinusoids(n_shot=n_shot, n_query=100)
    found = []
    for steps in STEPS:
        tested = MAML(learner.model, inner_lr=inner_lr, n_test_steps=steps)
        estimate = evaluate(tested, test, metric=bounded)
        diverged = int((estimate.values >= DIVERGED).sum())
        mean = None if diverged else [estimate.mean, estimate.interval]
        median = float(np.median(estimate.values))
        found.append({"mean": mean, "median": median, "diverged": diverged})
    return found


def bounded(prediction: Tensor, y: Tensor) -> Tensor:
    """The mean squared error, or `DIVERGED` if it is above that or no number."""
    return F.mse_loss(prediction, y).nan_to_num(DIVERGED).clamp(max=DIVERGED)


def table(options: Options) -> tuple[list[Result], dict[str, Any]]:
    """Run everything; what `records/maml_sinusoid.json` holds."""
    runs, hidden = [], None if options.progress is None else not options.progress
    for (label, kind), seed in tqdm(list(product(KINDS.items(), SEEDS)), disable=hidden):
        learner, seconds = trained(seed=seed, options=of_one(options, label, seed), **kind)
        rate = best_rate(learner) if kind.get("n_inner_steps") == 0 else 0.01
        mse = {f"{n} shots": errors(learner, n, inner_lr=rate) for n in (5, 10)}
        run = {"trained": label, "seed": seed, "seconds": round(seconds, 1)}
        runs.append(run | {"inner_lr at test": rate, "mse": mse})
    return results(runs), {"steps": STEPS, "runs": runs}


def of_one(options: Options, label: str, seed: int) -> Options:
    """The options of one of the networks: it is saved in a file of its own."""
    if options.checkpoint is None:
        return options
    suffix = re.sub(r"\W+", "_", f"{label} seed {seed}")
    path = options.checkpoint.with_stem(f"{options.checkpoint.stem}_{suffix}")
    return replace(options, checkpoint=path)


def results(runs: list[dict]) -> list[Result]:
    """What the paper's table has, of MAML trained as its appendix says, for each seed."""
    found = []
    for steps, value in PUBLISHED.items():
        for run in runs:
            if run["trained"] == "MAML, 10 shots":
                entry = run["mse"]["5 shots"][STEPS.index(steps)]
                protocol = f"5 shots, {steps} {'step' if steps == 1 else 'steps'}"
                protocol += f", seed {run['seed']}"
                mean = entry["mean"]
                estimate = None if mean is None else Estimate(mean[0], mean[1], 600, np.empty(0))
                target = Target(value, 0, *SOURCE, metric=METRIC)
                found.append(Result(protocol, estimate, target, METRIC, entry["diverged"]))
    return found


def best_rate(learner: MAML) -> float:
    """The fine-tuning rate with the least error after 10 steps, on waves that no test uses."""
    validation = Sinusoids(n_shot=5, n_query=100)

    def error(rate: float) -> float:
        tuned = MAML(learner.model, inner_lr=rate, n_test_steps=10)
        generator = torch.Generator().manual_seed(1)
        return evaluate(tuned, validation, metric=bounded, generator=generator).mean

    return min(RATES, key=error)


RECIPES = (
    Recipe(
        "maml-sinusoid",
        "MAML, sine waves, table 2 of its paper",
        "5 shots, 1 step of rate 0.01",
        "a quarter of an hour on one core",
        SETTINGS,
        table,
        target=Target(PUBLISHED[1], 0, *SOURCE, metric=METRIC),
        seeds=SEEDS,
    ),
)
