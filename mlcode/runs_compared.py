"""Runs beside each other, and a search for the setting of a run.

What `python -m mlcode compare` and `tune` do, without the command line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam

from mlcode.catalogue import OPTIONAL, SOURCES, Setting, make_learner, make_source, setting_of
from mlcode.checkpoints import load_learner
from mlcode.checks import check_choice
from mlcode.comparison import LearnerComparison, compare
from mlcode.learner import MetaLearner
from mlcode.runs import CHECKPOINT, is_trained, read_setting
from mlcode.training import train
from mlcode.tuning import Tuning, tune
from mlcode.tuning_space import Choice, Range

PROTOCOL = ("source", "n_way", "n_shot", "n_query")  # what runs must have in common
SEARCHED = (*OPTIONAL, "meta_lr", "n_tasks", "n_iterations")
SEARCH = "search.log"


def compare_runs(
    folders: Sequence[Path], split: str, n_tasks: int, device: torch.device
) -> LearnerComparison:
    """Compare what `train` left in the folders, on the same tasks.

    Runs that differ in their seed alone are trainings of one learner.

    Raises:
        ValueError: If two runs are not about the same tasks, naming in what they differ, or a
            folder is named twice or holds no run.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a folder is named twice; each run counts once.")
    settings = {folder: read_setting(folder) for folder in folders}
    first, *_ = settings.values()
    for folder, setting in settings.items():
        if other := [n for n in PROTOCOL if getattr(setting, n) != getattr(first, n)]:
            differences = ", ".join(
                f"{name} {getattr(setting, name)} and not {getattr(first, name)}" for name in other
            )
            raise ValueError(
                f"{folder} has {differences}, unlike {folders[0]}. Compare runs on the same tasks."
            )
    trained: dict[Setting, list[MetaLearner]] = {}
    for folder, setting in settings.items():
        trained.setdefault(replace(setting, seed=0), []).append(_loaded(folder, setting, device))
    names = _names(list(trained))
    return compare(dict(zip(names, trained.values())), make_source(first, split), n_tasks=n_tasks)


def tune_run(
    learner: str,
    source: str,
    given: Mapping[str, Any],
    space: Mapping[str, Range | Choice],
    *,
    n_trials: int,
    n_validation_tasks: int,
    folder: Path,
    device: torch.device,
) -> Tuning:
    """Search for the setting with which a learner does best on the source's validation tasks.

    Raises:
        ValueError: If a name is unknown or one that would change the tasks, is both given and
            searched, or has no effect on this learner.
    """
    for name in space:
        check_choice("what is searched", name, SEARCHED)
        if name in given:
            raise ValueError(f"{name} is given and searched; do one of both.")
    example = {name: _example(part) for name, part in space.items()}
    base = setting_of(learner, source, {**given, **example})
    if not is_trained(make_learner(base)):
        raise ValueError(f"{learner} has nothing to train, and so nothing to tune.")
    splits = SOURCES[source].splits
    tasks = make_source(base, "train")

    def fit(values: dict[str, Any]) -> MetaLearner:
        setting = setting_of(learner, source, {**given, **values})
        fitted = make_learner(setting).to(device)
        train(
            fitted,
            tasks,
            n_iterations=setting.n_iterations,
            n_tasks=setting.n_tasks,
            optimizer=Adam(fitted.parameters(), setting.meta_lr),
            generator=torch.Generator().manual_seed(setting.seed),
        )
        return fitted

    varies = {*space} | ({"n_test_steps"} - {*given})  # which follows n_inner_steps
    fixed = {n: v for n, v in asdict(base).items() if n not in varies and v is not None}
    return tune(
        fit,
        space,
        make_source(base, "validation") if splits else tasks,
        n_trials=n_trials,
        n_tasks=n_validation_tasks,
        seed=base.seed,
        file=folder / SEARCH,
        about=", ".join(f"{name} {value}" for name, value in fixed.items()),
        drawn_anew=not splits,
    )


def parsed_space(texts: Sequence[str], kinds: Mapping[str, type]) -> dict[str, Range | Choice]:
    """What is searched, from texts such as "inner_lr=0.01:1:log" and "statistics=query,support".

    Args:
        texts: A name, "=", and either two bounds with ":" between, and ":log" after them for a
            logarithmic range, or options with "," between.
        kinds: What the values of each name are.

    Raises:
        ValueError: If a text is of another form, or a name stands twice or is unknown.
    """
    space: dict[str, Range | Choice] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().replace("-", "_")
        check_choice("what is searched", name, list(kinds))
        if name in space:
            raise ValueError(f"{name} is searched twice.")
        try:
            space[name] = _part(values, kinds[name])
        except ValueError as error:
            raise ValueError(
                f"{text!r} cannot be searched ({error}). Write {name}=LOW:HIGH, "
                f"{name}=LOW:HIGH:log or {name}=ONE,OTHER."
            ) from error
    return space


def _part(values: str, kind: type) -> Range | Choice:
    if ":" not in values:
        return Choice(tuple(kind(value.strip()) for value in values.split(",")))
    low, high, *log = values.split(":")
    if log not in ([], ["log"]):
        raise ValueError(f"{':'.join(log)!r} is not 'log'")
    return Range(kind(low), kind(high), log=bool(log), integer=kind is int)


def _example(part: Range | Choice) -> Any:
    return part.low if isinstance(part, Range) else part.options[0]


def _loaded(folder: Path, setting: Setting, device: torch.device) -> MetaLearner:
    learner = make_learner(setting)
    if is_trained(learner):
        load_learner(folder / CHECKPOINT, learner)
    return learner.to(device)


def _names(settings: Sequence[Setting]) -> list[str]:
    """The learners' names, with what tells two settings of one learner apart."""
    names = []
    for setting in settings:
        alike = [s for s in settings if s.learner == setting.learner]
        differ = [
            field.name
            for field in fields(Setting)
            if len({getattr(other, field.name) for other in alike}) > 1
        ]
        words = [f"{name}={getattr(setting, name)}" for name in differ]
        names.append(" ".join([setting.learner, *words]))
    return names
