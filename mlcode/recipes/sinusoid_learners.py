"""Sine waves, K = 5, 10 and 20: MAML, first-order MAML, Meta-SGD and Reptile as regret.

Two exact points settle which wave it is, so that all error with more is regret above what is
possible; the Bayes-optimal error is computed beside it. MAML's settings are those of its paper's
section 5.1, in which the others have figures of their own or none; those that they share are the
same here, and Reptile's are of the size that its authors use for sine waves.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LinearLR
from tqdm import tqdm

from mlcode.bayes import BayesSinusoids
from mlcode.evaluation import evaluate
from mlcode.networks import MLP
from mlcode.optimization.maml import MAML
from mlcode.optimization.meta_sgd import MetaSGD
from mlcode.optimization.reptile import Reptile
from mlcode.recipes.maml_sinusoid import DIVERGED, METRIC, PUBLISHED, SOURCE, bounded
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.sources.sinusoids import Sinusoids
from mlcode.training import train

SHOTS = (5, 10, 20)
STEPS = (1, 10)  # inner steps at test
SETTINGS: dict[str, Any] = {
    "network": "MLP 1-40-40-1, ReLU",
    "n_shot": "10 in training",
    "n_iterations": 70_000,
    "MAML, first-order MAML, Meta-SGD": "25 waves, 1 inner step, rate (at first) 0.01; Adam 1e-3",
    "Reptile": "5 waves of 50 points, 8 inner steps of 10 points, rate 0.02; outer rate 1 to 0",
    "test": "600 waves, 100 queries each; each learner with the rate that it was trained with",
}
LEARNERS: dict[str, Callable[[], MAML]] = {
    "MAML": lambda: MAML(MLP(1, 40, 40, 1), inner_lr=0.01),
    "first-order MAML": lambda: MAML(MLP(1, 40, 40, 1), inner_lr=0.01, first_order=True),
    "Meta-SGD": lambda: MetaSGD(MLP(1, 40, 40, 1), inner_lr=0.01),
    "Reptile": lambda: Reptile(MLP(1, 40, 40, 1), inner_lr=0.02, n_inner_steps=8, batch_size=10),
}


def trained(name: str, options: Options) -> MAML:
    """Meta-train a learner by its name in `LEARNERS`."""
    n_iterations = options.n_iterations or SETTINGS["n_iterations"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # weights, and Reptile's order; restored on leaving
        learner = LEARNERS[name]().to(options.device)
        optimizer: Optimizer = Adam(learner.parameters(), 1e-3)
        scheduler, source, n_tasks = None, Sinusoids(n_shot=10, n_query=10), 25
        if isinstance(learner, Reptile):
            optimizer = SGD(learner.parameters(), 1.0)
            scheduler = LinearLR(optimizer, 1, 1e-6, n_iterations)
            source, n_tasks = Sinusoids(n_shot=10, n_query=40), 5
        train(
            learner,
            source,
            n_iterations=n_iterations,
            n_tasks=n_tasks,
            optimizer=optimizer,
            scheduler=scheduler,
            generator=torch.Generator().manual_seed(options.seed),
            compiled=options.compiled,
            checkpoint=options.checkpoint,
            checkpoint_every=5000,
            progress=False,  # one bar for all of them is enough
        )
    return learner


def errors(name: str, learner: MAML, n_tasks: int = 600) -> list[Result]:
    """The error of a learner for each number of shots and of steps."""
    found = []
    for n_shot in SHOTS:
        source = Sinusoids(n_shot=n_shot, n_query=100)
        for steps in STEPS:
            learner.n_test_steps = steps
            estimate = evaluate(learner, source, n_tasks, metric=bounded)
            diverged = int((estimate.values >= DIVERGED).sum())
            target = None
            if name == "MAML" and n_shot == 5:
                target = Target(PUBLISHED[steps], 0, *SOURCE, metric=METRIC)
            protocol = f"{name}, {n_shot} shots, {steps} {'step' if steps == 1 else 'steps'}"
            kept = None if diverged else estimate
            found.append(Result(protocol, kept, target, METRIC, diverged))
    return found


def possible(n_tasks: int = 600) -> list[Result]:
    """The least error there can be, for each number of shots and for none and one."""
    found = []
    for n_shot in (0, 1, 2, *SHOTS):
        source = Sinusoids(n_shot=n_shot, n_query=100)
        estimate = evaluate(BayesSinusoids(source), source, n_tasks, batch_size=20)
        shots = "1 shot" if n_shot == 1 else f"{n_shot} shots"
        found.append(Result(f"Bayes-optimal, {shots}", estimate, None, METRIC))
    return found


def run(options: Options) -> tuple[list[Result], dict[str, Any]]:
    """Train and measure all of them."""
    hidden = None if options.progress is None else not options.progress
    found = []
    for name in tqdm(LEARNERS, disable=hidden):
        found += errors(name, trained(name, of_one(options, name)))
    return [*found, *possible()], {}


def of_one(options: Options, name: str) -> Options:
    """The options of one of the learners: it is saved in a file of its own."""
    if options.checkpoint is None:
        return options
    stem = f"{options.checkpoint.stem}_{re.sub(r'[^a-z]+', '_', name.lower())}"
    return replace(options, checkpoint=options.checkpoint.with_stem(stem))


RECIPES = (
    Recipe(
        "sinusoid-learners",
        "MAML, first-order MAML, Meta-SGD and Reptile on sine waves, beside what is possible",
        "MAML, 5 shots, 1 step",
        "ten minutes on one core",
        SETTINGS,
        run,
        target=Target(PUBLISHED[1], 0, *SOURCE, metric=METRIC),
    ),
)
