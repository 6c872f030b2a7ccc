"""What a search may choose from: numbers within bounds, or one of several things."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlcode.checks import check_interval


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Args:
        low: The least.
        high: The largest.
        log: Draw the logarithm evenly, as suits a rate: as often from 0.01 to 0.1 as from 0.1 to 1.
        integer: Whole numbers only.

    Raises:
        TypeError: If a bound is no number, or with `integer` no integer.
        ValueError: If `low` is not below `high`, or with `log` not positive.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        check_interval("a range", (self.low, self.high))
        if self.integer:
            for name in ("low", "high"):
                if not isinstance(end := getattr(self, name), int):
                    raise TypeError(f"{name} must be an integer; got {end!r}.")
        if self.low == self.high:
            raise ValueError(f"a range needs low < high; got {self.low} twice. Leave it out.")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range must lie above 0; got low={self.low}.")


@dataclass(frozen=True)
class Choice:
    """One of several things: numbers, strings, booleans or None.

    Args:
        options: At least two, all different.

    Raises:
        TypeError: If one is something else.
        ValueError: If there are fewer than two, or one twice.
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        other = [
            x for x in self.options if not (x is None or isinstance(x, (bool, int, float, str)))
        ]
        if other:
            raise TypeError(
                f"a choice is between numbers, strings, booleans and None; got {other[0]!r}. "
                "Choose by name, and let `fit` look it up."
            )
        if len(set(self.options)) < max(2, len(self.options)):
            raise ValueError(f"a choice needs two or more different options; got {self.options}.")


def check_space(space: Mapping[str, Range | Choice]) -> None:
    """Raise ValueError if nothing is searched, TypeError unless each part is a range or choice."""
    if not space:
        raise ValueError("there is nothing to search; give {name: Range(…) or Choice(…)}.")
    for name, part in space.items():
        if not isinstance(part, (Range, Choice)):
            kind = type(part).__name__
            raise TypeError(f"{name} must be a Range or a Choice; got {part!r} ({kind}).")


def distributions(optuna: Any, space: Mapping[str, Range | Choice]) -> dict[str, Any]:
    """The space as Optuna takes it."""
    return {name: _distribution(optuna.distributions, part) for name, part in space.items()}


def _distribution(optuna: Any, part: Range | Choice) -> Any:
    if isinstance(part, Choice):
        return optuna.CategoricalDistribution(part.options)
    kind = optuna.IntDistribution if part.integer else optuna.FloatDistribution
    return kind(part.low, part.high, log=part.log)
