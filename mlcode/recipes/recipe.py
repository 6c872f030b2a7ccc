"""A published experiment by name: what it needs, what it should reach, and what came of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from mlcode.evaluation import Estimate
from mlcode.records import environment, write_record


@dataclass(frozen=True)
class Options:
    """How a recipe is run, apart from what it is."""

    seed: int = 0
    device: str = "cpu"
    n_iterations: int | None = None  # None: the recipe's own; any other makes a record of its own
    checkpoint: Path | None = None
    progress: bool | None = None


@dataclass(frozen=True)
class Target:
    """A figure that a result is held against.

    Args:
        value: In the result's unit: a share for accuracy.
        interval: Half-width of its 95 % interval, 0 if none was given.
        source: Where it was read, as a key of the book's references or in words.
        at_least: The least that counts as reached. None: within both intervals of `value`.
    """

    value: float
    interval: float
    source: str
    at_least: float | None = None


@dataclass(frozen=True)
class Result:
    """One measured figure and the protocol under which it was measured."""

    protocol: str
    estimate: Estimate
    target: Target | None = None

    def verdict(self) -> str:
        """Whether the target was reached, in words."""
        mean, interval = self.estimate.mean, self.estimate.interval
        if self.target is None:
            return "no figure to hold it against"
        if self.target.at_least is not None:
            short = self.target.at_least - mean
            return "reached" if short <= 0 else f"below the target by {short:.4f}"
        apart = abs(mean - self.target.value)
        if apart <= interval + self.target.interval:
            return "within the intervals"
        return f"{'above' if mean > self.target.value else 'below'} by {apart:.4f}"

    def as_dict(self) -> dict:
        """For a record."""
        row = {
            "protocol": self.protocol,
            "mean": round(self.estimate.mean, 6),
            "interval": round(self.estimate.interval, 6),
            "n_tasks": self.estimate.n_tasks,
            "verdict": self.verdict(),
        }
        if self.target is not None:
            row["target"] = {
                "value": self.target.value,
                "interval": self.target.interval,
                "source": self.target.source,
                "at_least": self.target.at_least,
            }
        return row


@dataclass(frozen=True)
class Recipe:
    """A named experiment.

    Args:
        name: As the command line takes it, such as "maml-omniglot-5w1s".
        title: What it is, in a line.
        time: How long it takes and on what, as measured or expected.
        settings: What is recorded of it: all that decides the result.
        run: Does it. Takes the options and returns results, or for an experiment with a table of
            its own a dictionary for the record.
    """

    name: str
    title: str
    time: str
    settings: dict
    run: Callable[[Options], list[Result] | dict]


def reproduce(recipe: Recipe, options: Options, *, folder: Path | str | None = None) -> Path:
    """Run a recipe and write its record; returns the file.

    A run with another number of iterations than the recipe's gets a name of its own and says so, so
    that it cannot pass for the whole.
    """
    start = time.perf_counter()
    found = recipe.run(options)
    seconds = time.perf_counter() - start
    name, deviation = recipe.name.replace("-", "_"), None
    if options.n_iterations is not None:
        deviation = f"{options.n_iterations} iterations instead of the recipe's"
        name += f"_{options.n_iterations}_iterations"
    if torch.device(options.device).type != "cpu":
        name += f"_{torch.device(options.device).type}"
    if isinstance(found, dict):
        result = found
    else:
        result = {
            "recipe": recipe.name,
            "title": recipe.title,
            "settings": recipe.settings,
            "seed": options.seed,
            "deviation": deviation,
            "seconds": round(seconds, 1),
            "results": [row.as_dict() for row in found],
        }
    return write_record(name, result, made_in=environment(device=options.device), folder=folder)
