"""Is a difference more than chance: paired differences, Student's t, and Holm for many pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mlcode.checks import check_int

LEVEL = 0.05  # of all tests of a comparison together


@dataclass(frozen=True)
class PairedDifference:
    """How far two learners are apart on the same tasks, and whether chance can explain it.

    Args:
        first: A learner.
        second: Another; `mean` is the first's value minus the second's.
        mean: Over tasks and trainings.
        interval: Half-width of its 95 % interval, by Student's t.
        p: How often chance alone puts two equal learners this far apart.
        p_holm: The same, corrected for the number of pairs that were tested; see `holm`.
    """

    first: str
    second: str
    mean: float
    interval: float
    p: float
    p_holm: float

    @property
    def told_apart(self) -> bool:
        """Whether the difference is significant at 5 % over all pairs together."""
        return self.p_holm < LEVEL


def paired_difference(
    first: tuple[str, Float[np.ndarray, "training task"]],
    second: tuple[str, Float[np.ndarray, "more_trainings task"]],
) -> PairedDifference:
    """The paired t-test of two learners by their values on the same tasks.

    With one training each, this is the textbook's test on the differences task by task, and says
    whether these two networks differ on tasks of this kind. Where a learner was trained several
    times, the variance of its trainings' means is added, Var(D)/n + Var(A)/a + Var(B)/b, with
    Welch's degrees of freedom rounded down, and the test is about the method: another training
    would come out like this too.

    Where all differences are the same and not 0 there is no t, and p is the sign test's 2^(1 − n).

    Args:
        first: A name with one value for each training and task.
        second: The same for the other learner, on the same tasks.

    Raises:
        ValueError: If there are not at least two tasks, the same number for both.
    """
    (name, a), (other, b) = first, second
    if a.shape[-1] != b.shape[-1] or a.shape[-1] < 2:
        raise ValueError(
            f"a paired test needs the same tasks, two or more, for both; {name} has {a.shape[-1]} "
            f"and {other} has {b.shape[-1]}."
        )
    differences = a.mean(0) - b.mean(0)
    parts = [_variance_of_mean(differences)]
    parts += [_variance_of_mean(v.mean(1)) for v in (a, b) if len(v) > 1]
    mean, variance = float(differences.mean()), sum(v for v, _ in parts)
    if math.sqrt(variance) <= 1e-12 * abs(mean):  # rounding left no more than that
        p = 1.0 if mean == 0 else 2.0 ** (1 - len(differences))
        return PairedDifference(name, other, mean, 0.0, p, p)
    df = max(1, int(variance**2 / sum(v**2 / df for v, df in parts) + 1e-9))
    error = math.sqrt(variance)
    p = two_sided_p(mean / error, df)
    return PairedDifference(name, other, mean, t_quantile(df) * error, p, p)


def corrected(differences: Sequence[PairedDifference]) -> tuple[PairedDifference, ...]:
    """The same differences, their p corrected for how many there are."""
    p = holm([difference.p for difference in differences])
    return tuple(replace(d, p_holm=value) for d, value in zip(differences, p))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction of many p-values, in the order in which they came (Holm, 1979).

    The smallest is multiplied by the number m of tests, the next by m − 1, and so on; none becomes
    smaller than one before it, or larger than 1. If no two learners differ, the chance that any
    pair falls below 5 % is then at most 5 %.
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def two_sided_p(t: float, df: int) -> float:
    """How often chance alone goes beyond `t`, to either side, with `df` degrees of freedom.

    Of Student's t, by the finite series for a whole `df`. Exact to about 1e-14, so that what lies
    below is not told from 0.
    """
    check_int("df", df, minimum=1)
    angle = math.atan(abs(t) / math.sqrt(df))
    first = 1 + df % 2  # 1/2 · 3/4 · … for an even number, 2/3 · 4/5 · … for an odd one
    ratios = [k / (k + 1) for k in range(first, df - 2, 2)]
    terms = np.cumprod([1.0, *(math.cos(angle) ** 2 * ratio for ratio in ratios)])
    within = math.sin(angle) * float(terms.sum())
    if df % 2:
        within = 2 / math.pi * (angle + (math.cos(angle) * within if df > 1 else 0.0))
    return min(1.0, max(0.0, 1 - within))


def t_quantile(df: int) -> float:
    """The t beyond which 5 % lie, both sides together; from 12.71 for `df` 1 it falls to 1.96."""
    low, high = 1.9, 13.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, df) > LEVEL else (low, middle)
    return (low + high) / 2


def _variance_of_mean(values: Float[np.ndarray, "value"]) -> tuple[float, int]:
    """The variance of the values' mean, and its degrees of freedom."""
    return float(values.var(ddof=1)) / len(values), len(values) - 1
