"""Checkpoints that survive a kill at any moment and never run code when they are read."""

import difflib
import os
import pickle
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    def save(self, path: Path, run: str) -> None:
        """Write the state to `path`. Raises ValueError if a parameter is not finite."""
        broken = [name for name, p in self.learner.named_parameters() if not p.isfinite().all()]
        if broken:
            raise ValueError(
                f"iteration {len(self.losses) - 1} left parameters that are not finite "
                f"({', '.join(broken)}); {path.name} keeps its last good state."
            )
        history = torch.tensor([self.losses, self.rates], dtype=torch.float64)
        state = {"format": FORMAT, "run": run, "history": history, "rng": _rng_states()}
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        write_atomically(path, state | {"generator": self.generator.get_state()})

    def load(self, path: Path, run: str) -> None:
        """Continue from `path`. Raises ValueError if it is unreadable or of another run."""
        state = read_checkpoint(path, run)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"]["cpu"])  # dropout and the like draw from these
        if "cuda" in state["rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["rng"]["cuda"])
        self.losses, self.rates = state["history"].tolist()

    def _parts(self) -> dict[str, Any]:
        parts = {"learner": self.learner, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return {name: part for name, part in parts.items() if part is not None}


def describe_run(
    learner: MetaLearner, source: TaskSource, optimizer: Optimizer, n_tasks: int
) -> str:
    """What must be the same for a run to be continued, as lines a person can compare."""
    lines = f"{learner}\n{source}\n{type(optimizer).__name__}\nn_tasks={n_tasks}"
    return re.sub(r" at 0x[0-9a-f]+", "", lines)


def write_atomically(path: Path, state: dict[str, Any]) -> None:
    """Save so that the file is, at every moment, either the old one or the new one.

    The bytes go to a neighbouring file and reach the disk before that file takes the old one's
    place; a rename within a folder is atomic.
    """
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_checkpoint(path: Path, run: str) -> dict[str, Any]:
    """Read a checkpoint of `run` as tensors and plain values, never as code.

    Raises:
        ValueError: If the file is truncated or foreign, or belongs to another run.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{path.name} is not a readable checkpoint: truncated, or not made by train. "
            "Delete it to start afresh, or name another file."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path.name} was not made by train: expected the format {FORMAT!r}.")
    if state["run"] != run:
        changed = difflib.ndiff(state["run"].splitlines(), run.splitlines())
        changes = "\n".join(line for line in changed if line[0] in "+-")
        raise ValueError(
            f"{path.name} belongs to another run; its settings (-) and these (+) differ:\n{changes}"
            "\nUse its settings to continue it, or name another file."
        )
    return state


def _rng_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states
