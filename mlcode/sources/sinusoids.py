"""Sinusoid regression, the task distribution of the MAML paper: no data, only a formula."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_int, check_interval, check_spread
from mlcode.sources.drawing import Interval, split, uniform, with_noise
from mlcode.tasks import Examples, Tasks


class Waves(NamedTuple):
    """Sinusoids y = A sin(x − φ), one a task: what there is to know about each task."""

    amplitude: Float[Tensor, "task"]
    phase: Float[Tensor, "task"]

    def __call__(
        self, x: Float[Tensor, "task example feature=1"]
    ) -> Float[Tensor, "task example target=1"]:
        """The height of each task's wave at its own inputs x, in radians."""
        return self.amplitude[:, None, None] * torch.sin(x - self.phase[:, None, None])


@dataclass(frozen=True)
class Sinusoids:
    """Few-shot regression of y = A sin(x − φ) (Finn et al., 2017, section 5.1).

    Every number is drawn in float64 where the generator lives, the CPU as a rule, then cast and
    moved: a CPU generator's seed gives the same tasks on every device and in every dtype.

    Args:
        n_shot: Support points a task. The paper's K.
        n_query: Query points a task.
        amplitude: Interval from which A is drawn uniformly.
        phase: Interval from which φ is drawn uniformly, in radians.
        x_range: Interval from which inputs are drawn uniformly.
        noise: Standard deviation of the Gaussian noise on support targets, in units of y; queries
            stay exact. 0, as in the paper: then two points settle which wave it is.
        dtype: Of the tensors returned. None: torch's default.

    Raises:
        TypeError: If a count is not an integer or an interval not two numbers.
        ValueError: If `n_shot` < 0, `n_query` < 1, an interval is reversed or not finite or `noise`
            is negative.
    """

    n_shot: int = 10
    n_query: int = 10
    amplitude: Interval = (0.1, 5.0)
    phase: Interval = (0.0, math.pi)
    x_range: Interval = (-5.0, 5.0)
    noise: float = 0.0
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_int("n_shot", self.n_shot, minimum=0)
        check_int("n_query", self.n_query, minimum=1)
        for name in ("amplitude", "phase", "x_range"):
            check_interval(name, getattr(self, name))
        check_spread("noise", self.noise)

    def waves(self, n_tasks: int, *, generator: torch.Generator | None = None) -> Waves:
        """Draw the tasks themselves: an amplitude and a phase for each."""
        check_int("n_tasks", n_tasks, minimum=1)
        return Waves(
            uniform(self.amplitude, (n_tasks,), generator),
            uniform(self.phase, (n_tasks,), generator),
        )

    def points(self, waves: Waves, *, generator: torch.Generator | None = None) -> Tasks:
        """Draw support and query points on given waves, as float64."""
        size = (len(waves.amplitude), self.n_shot + self.n_query, 1)
        x = uniform(self.x_range, size, generator)
        return with_noise(split(Examples(x, waves(x)), self.n_shot), self.noise, generator)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` waves, then their points.

        To look at the waves as well, call `waves` and `points` in turn with the same generator:
        they draw the same numbers.
        """
        tasks = self.points(self.waves(n_tasks, generator=generator), generator=generator)
        return tasks.to(device, self.dtype or torch.get_default_dtype())
