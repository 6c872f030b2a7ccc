"""A published experiment by name: what it needs, what it should reach, and what came of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlcode.evaluation import Estimate


@dataclass(frozen=True)
class Options:
    """How a recipe is run, apart from what it is.

    Args:
        seed: Of the first weights and of the tasks.
        device: Where to compute.
        n_iterations: Instead of the recipe's own.
        checkpoint: Where the run is saved and continued from; `reproduce` chooses the place.
        progress: As in `train`.
        compiled: Compile the training step where the recipe does; without, a run of a few
            iterations ends sooner.
    """

    seed: int = 0
    device: str = "cpu"
    n_iterations: int | None = None
    checkpoint: Path | None = None
    progress: bool | None = None
    compiled: bool = True


@dataclass(frozen=True)
class Target:
    """A figure that a result is held against.

    Args:
        value: In the result's unit: a share for accuracy.
        interval: Half-width of its 95 % interval, 0 if none was given.
        source: Where it stands, in words.
        key: The work's key on the book's page of references.
        at_least: The least that counts as reached. None: within both intervals of `value`.
        second_hand: Whether it was read where another text quotes it.
        metric: What it is, as in `Result`.
    """

    value: float
    interval: float
    source: str
    key: str
    at_least: float | None = None
    second_hand: bool = False
    metric: str = "accuracy"


@dataclass(frozen=True)
class Result:
    """One measured figure and the protocol under which it was measured.

    Args:
        protocol: In words.
        estimate: The figure; None if a task diverged, so that there is no mean.
        target: What it is held against.
        metric: "accuracy" or "total reward", of which more is better, or "mean squared error".
        n_diverged: Tasks that diverged.
    """

    protocol: str
    estimate: Estimate | None
    target: Target | None = None
    metric: str = "accuracy"
    n_diverged: int = 0

    def verdict(self) -> str:
        """Whether the target was reached, in words."""
        if self.estimate is None:
            return f"{self.n_diverged} task(s) diverged"
        if self.target is None:
            return "no figure to hold it against"
        mean, target = self.estimate.mean, self.target
        if target.at_least is not None:
            short = target.at_least - mean
            return "reached" if short <= 0 else f"below the target by {self._distance(short)}"
        apart = abs(mean - target.value)
        if apart <= self.estimate.interval + target.interval:
            return "within the intervals"
        error = self.metric == "mean squared error"
        higher, lower = ("worse", "better") if error else ("above", "below")
        return f"{higher if mean > target.value else lower} by {self._distance(apart)}"

    def _distance(self, apart: float) -> str:
        return f"{100 * apart:.2f} points" if self.metric == "accuracy" else f"{apart:.2f}"

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        estimate = self.estimate
        return {
            "protocol": self.protocol,
            "metric": self.metric,
            "mean": None if estimate is None else round(estimate.mean, 6),
            "interval": None if estimate is None else round(estimate.interval, 6),
            "n_tasks": None if estimate is None else estimate.n_tasks,
            "verdict": self.verdict(),
            "target": None if self.target is None else asdict(self.target),
        }


@dataclass(frozen=True)
class Recipe:
    """A named experiment.

    Args:
        name: As the command line takes it, such as "maml-omniglot-5w1s".
        title: What it is, in a line.
        protocol: How the figure that has a target is measured.
        time: How long it takes and on what, as measured or expected.
        settings: What is recorded of it: all that decides the result.
        run: Does it. Returns the results, and what else the record shall hold.
        target: What the first result is held against.
        deviations: In what it differs from the text that published the target.
        seeds: The seeds that it runs. None: the one it is given.
    """

    name: str
    title: str
    protocol: str
    time: str
    settings: dict[str, Any]
    run: Callable[[Options], tuple[list[Result], dict[str, Any]]]
    target: Target | None = None
    deviations: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None

    @property
    def aim(self) -> str:
        """The target in words."""
        if self.target is None:
            return "none published"
        if self.target.at_least is not None:
            return f"at least {100 * self.target.at_least:.3g} %"
        return in_words({"mean": self.target.value, **asdict(self.target)})


def in_words(figure: dict[str, Any]) -> str:
    """A figure of a record with its interval: accuracy in per cent, errors as they are."""
    if figure["mean"] is None:
        return "no mean"
    percent = figure.get("metric", "accuracy") == "accuracy"
    numbers = [(100 if percent else 1) * figure[name] for name in ("mean", "interval")]
    digits = 1 if percent and all(abs(n - round(n, 1)) < 1e-9 for n in numbers) else 2
    given = numbers if numbers[1] else numbers[:1]
    return " ± ".join(f"{number:.{digits}f}" for number in given) + (" %" if percent else "")
