"""Learners on the same frozen tasks: how good, how sure, told apart or not, and at what cost.

Two intervals are kept apart, because they answer different questions. The one over tasks says how
far other test tasks would move the mean of these networks. The one over trainings says how far
other seeds would move it on these tasks; it needs a learner trained several times.
"""

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from mlcode.checks import check_int
from mlcode.comparison_tables import difference_table, explanation, score_table
from mlcode.evaluation import EVALUATION_SEED, Estimate, evaluate
from mlcode.learner import MetaLearner, uncompiled
from mlcode.memory import peak_bytes
from mlcode.metrics import Metric, metric_for
from mlcode.significance import PairedDifference, corrected, paired_difference, t_quantile
from mlcode.sources.frozen import FrozenTasks, freeze
from mlcode.tasks import Tasks, TaskSource

Trained = MetaLearner | nn.Module  # a learner, or torch.compile of one
Learners = (
    Mapping[str, Trained | Sequence[Trained]] | Sequence[tuple[str, Trained | Sequence[Trained]]]
)


@dataclass(frozen=True)
class Score:
    """One learner of a comparison.

    Args:
        name: What the comparison calls it.
        values: The metric for each training and task.
        seconds: To adapt to a task and answer its queries, when tasks come in batches; the median
            over trainings.
        peak_bytes: Memory of tensors at the peak of one task alone, beyond what was there before.
    """

    name: str
    values: Float[np.ndarray, "training task"]
    seconds: float
    peak_bytes: int

    @property
    def over_tasks(self) -> Estimate:
        """The mean, with the 95 % interval over tasks; each task's value is its trainings' mean."""
        return Estimate.of(self.values.mean(0))

    @property
    def over_trainings(self) -> float | None:
        """Half-width of the 95 % interval over trainings, by Student's t; None of a single one."""
        n = len(self.values)
        if n == 1:
            return None
        return t_quantile(n - 1) * float(self.values.mean(1).std(ddof=1)) / math.sqrt(n)

    @property
    def interval(self) -> float:
        """Half-width of the interval for other tasks and other trainings at once.

        The root of the sum of both squares. What a task and a training have in common is in both,
        so that this is a little too wide rather than too narrow. Of a single training it is the
        interval over tasks, and no statement about another seed.
        """
        return math.hypot(self.over_tasks.interval, self.over_trainings or 0.0)


@dataclass(frozen=True)
class LearnerComparison:
    """What `compare` found. `print(comparison)` shows it; `score_table` and others lay it out.

    Args:
        scores: One a learner, in the order given.
        metric: What was compared.
        digest: The hash of the tasks; comparisons with the same one can be read side by side.
        n_tasks: How many there were.
    """

    scores: tuple[Score, ...]
    metric: Metric
    digest: str
    n_tasks: int

    def differences(self) -> tuple[PairedDifference, ...]:
        """Every pair, first minus second, with Holm's correction over all of them."""
        pairs = combinations([(score.name, score.values) for score in self.scores], 2)
        return corrected([paired_difference(first, second) for first, second in pairs])

    def as_dict(self) -> dict[str, Any]:
        """For a record, and for the tables and the picture, which take it from either."""
        return {
            "metric": self.metric.name,
            "better": self.metric.better,
            "percent": self.metric.percent,
            "tasks": self.digest,
            "n_tasks": self.n_tasks,
            "scores": [_score_as_dict(score) for score in self.scores],
            "differences": [asdict(d) | {"told_apart": d.told_apart} for d in self.differences()],
        }

    def __str__(self) -> str:
        result = self.as_dict()
        parts = [score_table(result, style="text"), explanation(result)]
        if result["differences"]:
            parts.insert(1, difference_table(result, style="text"))
        return "\n\n".join(parts)


def compare(
    learners: Learners,
    tasks: TaskSource | Tasks,
    *,
    n_tasks: int | None = None,
    metric: Metric | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 100,
) -> LearnerComparison:
    """Measure learners on the same tasks, and test every pair of them on the differences.

    Args:
        learners: A name with a learner, or with several trainings of it from different seeds.
        tasks: Frozen or not, or a source that they are drawn from once.
        n_tasks: How many. None: all of frozen ones, 600 of a source.
        metric: What is compared. None: accuracy where targets are labels, else the mean squared
            error. A learner's own loss would not do: each has another.
        generator: Draws the tasks from a source. None: that of `evaluate`, so that the tasks are
            those of every evaluation on the source.
        batch_size: Tasks adapted to at once; it changes time, and no value.

    Raises:
        TypeError: If something given as a learner is none.
        ValueError: If there is no learner, fewer than two tasks, a name twice, a learner without
            trainings, one that names another number of classes than the tasks have, one that
            writes into the tasks, or a value that is not finite; the message names the learner.
    """
    named = _named(learners)
    frozen = _frozen(tasks, n_tasks, generator)
    _check_ways(named, frozen.tasks)
    metric = metric or metric_for(frozen.tasks)
    scores = [_score(name, trained, frozen, metric, batch_size) for name, trained in named.items()]
    return LearnerComparison(tuple(scores), metric, frozen.digest, len(frozen))


def _named(learners: Learners) -> dict[str, list[MetaLearner]]:
    """Each name with its trainings, uncompiled."""
    pairs = list(learners.items() if isinstance(learners, Mapping) else learners)
    names = [name for name, _ in pairs]
    if not names:
        raise ValueError("there is no learner to compare; give {name: learner, …}.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"the name {twice[0]!r} stands for two learners. Give each its own, or trainings of "
            "one learner as a list under one name."
        )
    named = {name: list(_trainings(trained)) for name, trained in pairs}
    if empty := [name for name, trained in named.items() if not trained]:
        raise ValueError(f"{empty[0]!r} has no training; its list is empty.")
    return named


def _trainings(trained: Trained | Sequence[Trained]) -> Iterator[MetaLearner]:
    if isinstance(trained, nn.Module):
        return iter([uncompiled(trained)])
    return (uncompiled(learner) for learner in trained)


def _frozen(
    tasks: TaskSource | Tasks, n_tasks: int | None, generator: torch.Generator | None
) -> FrozenTasks:
    """The tasks to compare on, at least two."""
    if isinstance(tasks, Tasks):
        tasks = FrozenTasks(tasks)
    there = len(tasks) if isinstance(tasks, FrozenTasks) else None
    wanted = n_tasks if n_tasks is not None else there if there is not None else 600
    check_int("n_tasks", wanted, minimum=2)
    if isinstance(tasks, FrozenTasks) and wanted == there:
        return tasks
    return freeze(
        tasks, wanted, generator=generator or torch.Generator().manual_seed(EVALUATION_SEED)
    )


def _check_ways(named: Mapping[str, Sequence[MetaLearner]], tasks: Tasks) -> None:
    if tasks.query.y.is_floating_point():
        return
    there = 1 + max(int(part.y.max()) for part in tasks if part.y.numel())
    ways = {name: way for name, each in named.items() for way in {x.n_way for x in each} if way}
    if other := {name: way for name, way in ways.items() if way != there}:
        listed = ", ".join(f"{name} names {way}" for name, way in other.items())
        raise ValueError(
            f"these tasks have {there} classes; {listed}. Compare learners of one number of "
            "classes on tasks of that number."
        )


def _score(
    name: str,
    trained: Sequence[MetaLearner],
    frozen: FrozenTasks,
    metric: Metric,
    batch_size: int,
) -> Score:
    values, seconds = [], []
    for learner in trained:
        try:
            evaluate(learner, frozen, 2, metric=metric.of)  # what the first call does once
            start = time.perf_counter()
            estimate = evaluate(
                learner, frozen, len(frozen), metric=metric.of, batch_size=batch_size
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        seconds.append((time.perf_counter() - start) / len(frozen))
        values.append(estimate.values)
    device = getattr(next(trained[0].parameters(), None), "device", "cpu")
    peak = peak_bytes(
        lambda: evaluate(trained[0], frozen, 2, metric=metric.of, batch_size=1), device
    )
    frozen.check_unchanged(name)
    return Score(name, np.stack(values), statistics.median(seconds), peak)


def _score_as_dict(score: Score) -> dict[str, Any]:
    estimate = score.over_tasks
    return {
        "name": score.name,
        "mean": estimate.mean,
        "interval": score.interval,
        "over_tasks": estimate.interval,
        "over_trainings": score.over_trainings,
        "n_trainings": len(score.values),
        "seconds": score.seconds,
        "peak_bytes": score.peak_bytes,
    }
