"""Learners and sources of tasks by name, as the command line offers them.

Every command knows a learner as soon as it has an entry in `mlcode.catalogue.learners.LEARNERS`:
a line that says what it is, a function from a `Setting` to it, and the settings that it heeds.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mlcode.catalogue.entries import Learner, Setting, Source
from mlcode.catalogue.learners import LEARNERS
from mlcode.catalogue.sources import SOURCES
from mlcode.checks import check_choice
from mlcode.evaluation import accuracy
from mlcode.learner import MetaLearner
from mlcode.tasks import TaskSource

__all__ = [
    "LEARNERS",
    "SOURCES",
    "Learner",
    "Setting",
    "Source",
    "make_learner",
    "make_source",
    "metric_of",
    "setting_of",
]

# Settings that some learners heed and others do not, with usual values where a source has none.
OPTIONAL = {"inner_lr": None, "n_inner_steps": 1, "n_test_steps": None, "statistics": None}
TRAINING = {"n_tasks": 16, "n_iterations": 1000, "meta_lr": 1e-3, "seed": 0}


def setting_of(learner: str, source: str, given: Mapping[str, Any]) -> Setting:
    """The setting with the `given` values and the usual ones for the rest.

    Raises:
        ValueError: If a name is unknown, with the nearest one, the two do not go together, or a
            value is given that would have no effect.
    """
    check_choice("the learner", learner, list(LEARNERS))
    check_choice("the source", source, list(SOURCES))
    entry, tasks = LEARNERS[learner], SOURCES[source]
    if entry.sources is not None and source not in entry.sources:
        raise ValueError(f"{learner} learns from {' or '.join(entry.sources)}; got {source!r}.")
    usual = {**TRAINING, **OPTIONAL, **tasks.usual, **entry.usual}
    ignored = set(OPTIONAL) - set(entry.heeds)
    if not tasks.labels:
        ignored.add("statistics")  # batch norm's; the network for functions has none
    heeded = {name: value for name, value in usual.items() if name not in ignored}
    if idle := [name for name in given if name not in heeded]:
        raise ValueError(
            f"{', '.join(idle)} would have no effect: {learner} on {source} heeds "
            f"{', '.join(sorted(heeded))}."
        )
    setting = {**heeded, **given}
    if "n_test_steps" in setting and setting["n_test_steps"] is None:
        setting["n_test_steps"] = setting["n_inner_steps"]
    return Setting(learner, source, **setting)


def make_source(setting: Setting, split: str) -> TaskSource:
    """The tasks of a split; ValueError if there is none of that name."""
    source = SOURCES[setting.source]
    if not source.splits and split not in ("train", "test"):
        raise ValueError(f"{setting.source} has no split {split!r}: every task is drawn anew.")
    return source.build(setting, split)


def make_learner(setting: Setting) -> MetaLearner:
    """An untrained learner whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)  # restored on leaving
        return LEARNERS[setting.learner].build(setting)


def metric_of(setting: Setting) -> tuple[str, Callable | None]:
    """What is reported, by name, and the `metric` for `evaluate`."""
    return (
        ("accuracy", accuracy) if SOURCES[setting.source].labels else ("mean squared error", None)
    )
