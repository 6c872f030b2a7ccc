"""Checkpoints that survive a kill at any moment and never run code when they are read."""

import difflib
import os
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlcode.learner import MetaLearner
from mlcode.tasks import TaskSource

FORMAT = "learning-to-learn checkpoint 1"


@dataclass
class TrainingState:
    """All that a training run must remember to continue as if it had never stopped."""

    learner: MetaLearner
    optimizer: Optimizer
    scheduler: LRScheduler | None
    generator: torch.Generator  # draws the tasks
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def record(self, loss: float) -> None:
        """Add an iteration to the history."""
        self.losses.append(loss)
        self.rates.append(float(self.optimizer.param_groups[0]["lr"]))

    def check_finite(self) -> None:
        """Raise ValueError if a parameter is not finite, before that is saved or returned."""
        broken = [name for name, p in self.learner.named_parameters() if not p.isfinite().all()]
        if broken:
            raise ValueError(
                f"iteration {len(self.losses) - 1} left parameters that are not finite "
                f"({', '.join(broken)}), or one shortly before it. A checkpoint keeps its last "
                "good state. Try a smaller learning rate, or clip the gradient."
            )

    def save(self, path: Path, run: str) -> None:
        """Write the state to `path`."""
        history = torch.tensor([self.losses, self.rates], dtype=torch.float64)
        state = {"format": FORMAT, "run": run, "history": history, "rng": _rng_states()}
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        state["generator"] = self.generator.get_state()
        write_atomically(path, _plain(state))

    def load(self, path: Path, run: str) -> None:
        """Continue from `path`. Raises ValueError if it is unreadable or of another run."""
        state = read_checkpoint(path, run)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        _keep_dtypes(self.optimizer, state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"]["cpu"])  # dropout and the like draw from these
        if "cuda" in state["rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["rng"]["cuda"])
        self.losses, self.rates = state["history"].tolist()

    def _parts(self) -> dict[str, Any]:
        parts = {"learner": self.learner, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return {name: part for name, part in parts.items() if part is not None}


def describe_run(
    learner: MetaLearner,
    source: TaskSource,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    **settings: float | None,
) -> str:
    """What must be the same for a run to be continued, as lines a person can compare."""
    tensors = learner.state_dict().items()
    lines = [
        f"{learner}",
        *(f"{name}: {t.dtype}, {tuple(t.shape)}" for name, t in tensors if torch.is_tensor(t)),
        f"{source}",
        f"optimizer={type(optimizer).__name__}",
        *(f"  {name}={value}" for name, value in optimizer.defaults.items()),
        f"scheduler={type(scheduler).__name__ if scheduler is not None else None}",
        *(f"{name}={value}" for name, value in settings.items()),
    ]
    return re.sub(r" at 0x[0-9a-f]+", "", "\n".join(lines))


def check_place(checkpoint: str | Path) -> Path:
    """The path of a checkpoint; ValueError, before any training, if no file can lie there."""
    path = Path(checkpoint)
    if path.is_dir():
        raise ValueError(f"checkpoint must be a file; {path} is a folder.")
    if not path.parent.is_dir():
        raise ValueError(f"checkpoint: the folder {path.parent} of {path.name} does not exist.")
    return path


def write_atomically(path: Path, state: dict[str, Any]) -> None:
    """Save so that the file is, at every moment, either the old one or the new one.

    The bytes go to a neighbouring file and reach the disk before that file takes the old one's
    place; a rename within a folder is atomic. They are read back first, so that what could not be
    continued from is refused when it is written, not when it is needed.
    """
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        _read(part)
    except ValueError as error:
        raise ValueError(
            f"{path.name} could not be read back and was not replaced. A checkpoint holds tensors, "
            f"numbers and text only, so that reading it runs no code: {error.__cause__}"
        ) from error
    part.replace(path)


def read_checkpoint(path: Path, run: str) -> dict[str, Any]:
    """Read a checkpoint of `run` as tensors and plain values, never as code.

    Raises:
        ValueError: If the file is truncated or foreign, or belongs to another run.
    """
    state = _checkpoint(path)
    if state["run"] != run:
        changed = difflib.ndiff(state["run"].splitlines(), run.splitlines())
        changes = "\n".join(line for line in changed if line[0] in "+-")
        raise ValueError(
            f"{path.name} belongs to another run; its settings (-) and these (+) differ:\n{changes}"
            "\nUse its settings to continue it, or name another file."
        )
    return state


def load_learner(path: Path, learner: MetaLearner) -> int:
    """Give `learner` the weights that a checkpoint holds; returns after how many iterations.

    Raises:
        ValueError: If there is no such file, it is unreadable, or of another learner.
    """
    state = _checkpoint(path)
    try:
        learner.load_state_dict(state["learner"])
    except RuntimeError as error:
        raise ValueError(f"{path.name} holds another learner: {error}") from error
    return state["history"].shape[1]


def n_saved(path: Path) -> int:
    """How many iterations a checkpoint holds; raises ValueError as `load_learner`."""
    return _checkpoint(path)["history"].shape[1]


def _checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}; train writes one.")
    state = _read(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path.name} was not made by train: expected the format {FORMAT!r}.")
    return state


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            return _verified(file)
        except MemoryError:
            raise
        except Exception as error:  # a parser can fail on foreign bytes in any way
            raise ValueError(
                f"{path.name} is not a readable checkpoint: truncated, damaged, or not made by "
                "train. Delete it to start afresh, or name another file."
            ) from error


def _verified(file: BinaryIO) -> Any:
    """Load after the archive's checksums: torch itself would take a flipped bit for a weight."""
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's about foreign formats, which it then refuses
        return torch.load(file, map_location="cpu", weights_only=True)


def _plain(value: Any) -> Any:
    """`value` with NumPy's numbers, such as a learning rate from `np.logspace`, as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def _keep_dtypes(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Undo that `load_state_dict` casts an optimizer's own numbers to its parameters' dtype.

    NAdam and ASGD keep some in float32 beside float64 parameters, and so must the resumed run.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    for p, number in zip(parameters, numbers):
        for name, value in saved["state"].get(number, {}).items():
            if isinstance(value, torch.Tensor):
                optimizer.state[p][name] = optimizer.state[p][name].to(value.dtype)


def _rng_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states
