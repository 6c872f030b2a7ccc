"""Time contenders against each other on a machine that is not quiet."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

Work = Callable[[], object]


class Quartiles(NamedTuple):
    """A median with the middle half of what it was taken from."""

    low: float  # a quarter of the values lie below
    median: float
    high: float  # a quarter lie above

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def interleaved(
    contenders: Mapping[str, Work], *, n_rounds: int, block_s: float = 0.1
) -> dict[str, list[float]]:
    """Seconds a call, one value a round for each contender.

    Every round runs a block of calls of each contender, so that a machine that slows down slows
    all of them. The order rotates, the first call of a block is not timed (its caches hold another
    contender's data, which in training they do not), and the garbage collector rests.

    Args:
        contenders: What to call, by name.
        n_rounds: Blocks of each.
        block_s: Roughly how long a block lasts, in seconds.
    """
    names = list(contenders)
    n_calls = {name: _calls_in(contenders[name], block_s) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(n_rounds):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(_time_block(contenders[name], n_calls[name]))
    return seconds


def ratios(slow: list[float], fast: list[float]) -> Quartiles:
    """How many times `fast` is faster, from the ratios of the same round."""
    return quartiles([s / f for s, f in zip(slow, fast)])


def quartiles(values: list[float]) -> Quartiles:
    """Median and quartiles."""
    q = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return Quartiles(*torch.quantile(torch.tensor(values, dtype=torch.float64), q).tolist())


def _calls_in(work: Work, block_s: float) -> int:
    if _time_block(work, 1) >= block_s:
        return 1
    return max(1, math.ceil(block_s / _time_block(work, 3)))


def _time_block(work: Work, n_calls: int) -> float:
    """Seconds a call, the mean over a block.

    Not the median: other programs interrupt most long calls and few short ones, so that a median
    would flatter the contender with the short ones on a busy machine.
    """
    gc.collect()
    gc.disable()
    try:
        work()
        _wait()
        start = time.perf_counter()
        for _ in range(n_calls):
            work()
        _wait()
        return (time.perf_counter() - start) / n_calls
    finally:
        gc.enable()


def _wait() -> None:
    """A GPU works on after a call has returned."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
