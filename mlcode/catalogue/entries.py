"""What a run is made of, and what an entry in the catalogue says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlcode.learner import MetaLearner
from mlcode.tasks import TaskSource


@dataclass(frozen=True)
class Setting:
    """What a run is made of. None: has no meaning for this learner on this source."""

    learner: str
    source: str
    n_shot: int
    n_query: int
    n_tasks: int
    n_iterations: int
    meta_lr: float
    seed: int
    n_way: int | None = None
    rotations: bool | None = None
    inner_lr: float | None = None
    n_inner_steps: int | None = None
    n_test_steps: int | None = None
    statistics: str | None = None


@dataclass(frozen=True)
class Learner:
    """A learner by name.

    Args:
        text: What it is, in a line.
        build: Makes it. It may draw its first weights from torch's global generator, which is
            seeded for the call.
        heeds: Which of the settings in `mlcode.catalogue.OPTIONAL` have an effect on it.
        usual: Its usual values where they differ from its source's.
        sources: Names of the sources it can learn from. None: all.
    """

    text: str
    build: Callable[[Setting], MetaLearner]
    heeds: tuple[str, ...] = ()
    usual: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Source:
    """A source of tasks by name.

    Args:
        text: What it is, in a line.
        build: Makes it, for a setting and a split.
        usual: Its settings with their usual values, and those of learners on it.
        splits: Whether it has several, such as "train" and "test"; functions are drawn anew.
        labels: Whether targets are classes.
    """

    text: str
    build: Callable[[Setting, str], TaskSource]
    usual: Mapping[str, Any]
    splits: bool = True
    labels: bool = True
