"""A training run kept in a folder: its setting beside its checkpoint, to be continued or measured.

What `python -m mlcode train` and `evaluate` do, without the command line.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam

from mlcode.catalogue import (
    LEARNERS,
    SOURCES,
    Setting,
    make_learner,
    make_source,
    metric_of,
    setting_of,
)
from mlcode.checkpoints import load_learner
from mlcode.evaluation import Estimate, evaluate
from mlcode.learner import MetaLearner
from mlcode.metric.metric_learner import MetricLearner
from mlcode.networks import ConvNet
from mlcode.sources.batches import Batches
from mlcode.sources.episodes import Episodes
from mlcode.training import History, train

CHECKPOINT, SETTING = "checkpoint.pt", "setting.json"
SAVE_EVERY = 200


def begun(folder: Path, setting: Setting) -> Setting:
    """The setting of a run that begins in `folder`; ValueError if one lies there already."""
    if (folder / CHECKPOINT).exists():
        raise ValueError(
            f"{folder} holds a run already. Continue it with --resume, or name another folder."
        )
    return setting


def continued(folder: Path, learner: str, source: str, given: Mapping[str, Any]) -> Setting:
    """The setting of the run in `folder`, with more iterations if `given` asks for them.

    Raises:
        ValueError: If there is no run, or another learner, source or value is asked for.
    """
    setting = read_setting(folder)
    asked = {"learner": learner, "source": source, **given}
    there = asdict(setting)
    other = [name for name in asked if name != "n_iterations" and asked[name] != there[name]]
    if other:
        differences = ", ".join(f"{name} {there[name]} and not {asked[name]}" for name in other)
        raise ValueError(
            f"the run in {folder} has {differences}. Leave that out to continue it, or start "
            "another in another folder."
        )
    return replace(setting, n_iterations=asked.get("n_iterations", setting.n_iterations))


def run(folder: Path, setting: Setting, device: torch.device) -> History | None:
    """Train, or go on training, in `folder`; None if this learner has nothing to train."""
    learner = make_learner(setting).to(device)
    source = make_source(setting, "train")
    folder.mkdir(parents=True, exist_ok=True)
    _write_setting(folder, setting)
    if not is_trained(learner):
        return None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(setting.seed)  # for dropout and the like; restored on leaving
        return train(
            learner,
            source,
            n_iterations=setting.n_iterations,
            n_tasks=setting.n_tasks,
            optimizer=Adam(learner.parameters(), setting.meta_lr),
            generator=torch.Generator().manual_seed(setting.seed),
            checkpoint=folder / CHECKPOINT,
            checkpoint_every=SAVE_EVERY,
        )


def measure(
    folder: Path, changes: Mapping[str, Any], split: str, n_tasks: int, device: torch.device
) -> tuple[dict[str, Any], Estimate]:
    """Measure what the run in `folder` has learned so far.

    Args:
        folder: Where it lies.
        changes: Settings of the test that differ from those of training. The statistics of a
            metric-based learner may also be "frozen": those of training images.
        split: Of the source.
        n_tasks: Test tasks.
        device: Where to compute.

    Returns:
        What was measured and how, by name, and the estimate.
    """
    stored = read_setting(folder)
    kept = {name: value for name, value in asdict(stored).items() if value is not None}
    named = {"learner": kept.pop("learner"), "source": kept.pop("source")}
    frozen = changes.get("statistics") == "frozen" and isinstance(
        make_learner(stored), MetricLearner
    )
    changed = {k: v for k, v in changes.items() if not (frozen and k == "statistics")}
    setting = setting_of(**named, given={**kept, **changed})
    learner = make_learner(setting)
    n_iterations = load_learner(folder / CHECKPOINT, learner) if is_trained(learner) else 0
    metric_name, metric = metric_of(setting)
    source = make_source(setting, split)
    learner.to(device)
    if frozen:
        freeze(learner, setting, device)
        setting = replace(setting, statistics="frozen")
    estimate = evaluate(learner, source, n_tasks, metric=metric)
    protocol = ("n_way", "n_shot", "n_query", "n_test_steps", "statistics")
    return {
        **named,
        "split": split if SOURCES[setting.source].splits else None,
        "n_iterations": n_iterations,
        **{name: getattr(setting, name) for name in protocol},
        "n_tasks": n_tasks,
        "metric": metric_name,
    }, estimate


def freeze(learner: MetaLearner, setting: Setting, device: torch.device) -> None:
    """Have a metric-based learner's encoder use the batch statistics of training images.

    Of 2,000 images of 28 × 28 pixels, or as many larger ones as take the same memory.
    """
    source = make_source(setting, "train")
    encoder = learner.encoder if isinstance(learner, MetricLearner) else None
    if not (isinstance(encoder, ConvNet) and isinstance(source, Episodes)):
        raise ValueError(f"{setting.learner} on {setting.source} has no statistics to freeze.")
    n_images = 2000 * 28**2 // encoder.image_shape[1] ** 2
    batches = Batches(source.characters, n_images, rotations=source.rotations)
    generator = torch.Generator().manual_seed(setting.seed)
    encoder.freeze_statistics(batches.sample(1, generator=generator, device=device).query.x[0])


def is_trained(learner: MetaLearner) -> bool:
    """Whether there is anything to train in it."""
    return any(p.requires_grad for p in learner.parameters())


def read_setting(folder: Path) -> Setting:
    """The setting of the run in `folder`.

    Raises:
        ValueError: If there is none, or it is damaged.
    """
    file = folder / SETTING
    if not file.is_file():
        raise ValueError(f"{folder} holds no run: there is no {SETTING}. Begin one with train.")
    try:
        setting = Setting(**json.loads(file.read_text(encoding="utf-8")))
        if setting.learner in LEARNERS and setting.source in SOURCES:
            return setting
        reason = f"{setting.learner!r} or {setting.source!r} is unknown"
    except (TypeError, ValueError) as error:  # no JSON, no text, or of other names
        reason = str(error)
    raise ValueError(f"{file} is damaged ({reason}); train again into another folder.")


def _write_setting(folder: Path, setting: Setting) -> None:
    part = folder / f".{SETTING}.part"
    part.write_text(json.dumps(asdict(setting), indent=2) + "\n", encoding="utf-8")
    os.replace(part, folder / SETTING)  # at every moment the old one or the new one
