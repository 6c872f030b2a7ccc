"""Learners side by side: the same budget, the same search for settings, the same test tasks.

Each learner is first trained briefly with its rate and with one hyperparameter of its own a quarter
and four times as large, on tasks of the validation split. What did best there is trained in full,
from several seeds, and measured on test tasks.
"""

import math
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from mlcode.evaluation import evaluate
from mlcode.learner import MetaLearner
from mlcode.metrics import Metric
from mlcode.networks import ConvNet
from mlcode.recipes.recipe import Options
from mlcode.sources.frozen import FrozenTasks
from mlcode.tasks import TaskSource
from mlcode.training import train

FACTORS = ((1, 1), (0.25, 1), (4, 1), (1, 0.25), (1, 4))  # of the rate, of its own hyperparameter
SHARE = 0.25  # of the iterations, for a training of the search
SEARCH_SEED = 99  # of first weights and tasks; no other training has it
SILENCED = ("conjugate gradients did not converge", "the inner loop did not end at a minimum")


def unchanged(learner: MetaLearner, encoder: ConvNet | None) -> MetaLearner:
    """What is measured is what was trained."""
    return learner


@dataclass(frozen=True)
class Contender:
    """A learner, and all that decides its training.

    Args:
        build: Makes it from the value of its own hyperparameter and, where it uses one, a
            pre-trained encoder. It may draw weights from torch's global generator.
        source: Its training tasks, likewise.
        n_iterations: Of a full training.
        n_tasks: A step.
        meta_lr: Of the outer optimizer before the search; the rate falls to 0 along a cosine.
        own: Name of its own hyperparameter, and the value before the search. None: it has none.
        finish: Makes what is measured of what was trained.
        optimizer: The outer one.
        clip_grad_norm: As in `train`.
    """

    build: Callable[[float, ConvNet | None], MetaLearner]
    source: Callable[[ConvNet | None], TaskSource]
    n_iterations: int
    n_tasks: int
    meta_lr: float
    own: tuple[str, float] | None = None
    finish: Callable[[MetaLearner, ConvNet | None], MetaLearner] = unchanged
    optimizer: Callable[..., Optimizer] = Adam
    clip_grad_norm: float | None = None


@dataclass(frozen=True)
class Tried:
    """One training of the search: its factors, what they make, and the result on validation tasks.

    `mean` is None if the training diverged.
    """

    factors: tuple[float, float]
    meta_lr: float | None
    own: float | None
    mean: float | None
    interval: float | None


def trained(
    contender: Contender,
    seed: int,
    encoder: ConvNet | None = None,
    *,
    factors: tuple[float, float] = (1, 1),
    share: float = 1.0,
    checkpoint: Path | None = None,
) -> tuple[MetaLearner, float]:
    """Train one; returns what is to be measured, and the seconds that training took.

    Raises:
        ValueError: If the training diverged.
    """
    n_iterations = max(1, math.ceil(share * contender.n_iterations))
    start = time.process_time()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        for text in SILENCED:  # about the way there; what comes of it is measured
            warnings.filterwarnings("ignore", message=text)
        torch.manual_seed(seed)  # restored on leaving
        learner = contender.build(_own(contender, factors[1]) or 0.0, encoder)
        optimizer = contender.optimizer(learner.parameters(), contender.meta_lr * factors[0])
        train(
            learner,
            contender.source(encoder),
            n_iterations=n_iterations,
            n_tasks=contender.n_tasks,
            optimizer=optimizer,
            scheduler=CosineAnnealingLR(optimizer, n_iterations),
            clip_grad_norm=contender.clip_grad_norm,
            generator=torch.Generator().manual_seed(seed),
            checkpoint=checkpoint,
            progress=False,
        )
        found = contender.finish(learner, encoder)
    return found.eval(), time.process_time() - start


def searched(
    name: str,
    contender: Contender,
    validation: FrozenTasks,
    metric: Metric,
    options: Options,
    encoder: ConvNet | None = None,
    *,
    share: float = SHARE,
) -> list[Tried]:
    """What came of each pair of factors on the validation tasks."""
    found = []
    for factors in FACTORS if contender.own else FACTORS[:3]:
        file = place(options, f"{name} {factors[0]} {factors[1]}")
        more: dict[str, Any] = {"factors": factors, "share": share, "checkpoint": file}
        mean = interval = None
        try:
            learner, _ = trained(contender, SEARCH_SEED, encoder, **more)
            estimate = evaluate(learner, validation, len(validation), metric=metric.of)
            mean, interval = estimate.mean, estimate.interval
        except ValueError as error:
            if "finite" not in str(error):
                raise
        rate = contender.meta_lr * factors[0]
        found.append(Tried(factors, rate, _own(contender, factors[1]), mean, interval))
    return found


def best_factors(tried: Sequence[Tried], metric: Metric) -> tuple[float, float]:
    """The factors of the training that did best on the validation tasks.

    Raises:
        ValueError: If every training diverged.
    """
    sign = 1 if metric.better == "higher" else -1
    done = [(sign * one.mean, -place) for place, one in enumerate(tried) if one.mean is not None]
    if not done:
        raise ValueError("every training of the search diverged; begin with smaller rates.")
    return tried[-max(done)[1]].factors


def searches_as_dict(
    contenders: Mapping[str, Contender],
    searches: Mapping[str, Sequence[Tried]],
    chosen: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    """For a record: each search, and what it chose."""
    found = {}
    for name, tried in searches.items():
        contender = contenders[name]
        found[name] = {
            "own": contender.own[0] if contender.own else None,
            "n_iterations": contender.n_iterations,
            "n_tasks": contender.n_tasks,
            "meta_lr": contender.meta_lr * chosen[name][0],
            "own_value": _own(contender, chosen[name][1]),
            "tried": [asdict(one) for one in tried],
        }
    return found


def place(options: Options, what: str) -> Path | None:
    """The checkpoint of one training among many."""
    if options.checkpoint is None:
        return None
    slug = re.sub(r"[^a-z0-9.]+", "_", what.lower())
    return options.checkpoint.with_name(f"{options.checkpoint.stem}_{slug}.pt")


def _own(contender: Contender, factor: float) -> float | None:
    return None if contender.own is None else contender.own[1] * factor
