"""Waves, lines and steps in one distribution: tasks of kinds that lie far apart."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mlcode.checks import check_choice, check_int, check_interval, check_spread
from mlcode.sources.drawing import Interval, split, uniform, with_noise
from mlcode.sources.sinusoids import Sinusoids
from mlcode.tasks import Examples, Tasks

KINDS = ("wave", "line", "step")


class Curves(NamedTuple):
    """Functions of one number, one a task: which kind each is, and its two numbers."""

    kind: Int64[Tensor, "task"]  # its place in KINDS
    size: Float[Tensor, "task"]  # amplitude of a wave, slope of a line, half the height of a step
    place: Float[Tensor, "task"]  # phase of a wave, height of a line at 0, where a step is

    def __call__(
        self, x: Float[Tensor, "task example feature=1"]
    ) -> Float[Tensor, "task example target=1"]:
        """The height of each task's curve at its own inputs."""
        kind, size, place = (part[:, None, None] for part in self)
        heights = [size * torch.sin(x - place), size * x + place]
        heights.append(torch.where(x < place, -size, size))
        return torch.where(kind == 0, heights[0], torch.where(kind == 1, heights[1], heights[2]))


@dataclass(frozen=True)
class MixedFunctions:
    """Few-shot regression of functions of several kinds: a distribution with several modes.

    A task is, with equal chances, of one of the `kinds`:

    - a "wave", A sin(x − φ), as in `Sinusoids`;
    - a "line", s x + c;
    - a "step", −h left of a place and h right of it.

    A few points spread over the range mostly say which kind it is. Vuorio et al. (2019) train on
    such mixtures, waves and lines among them.

    Args:
        n_shot: Support points a task.
        n_query: Query points a task.
        kinds: Which, out of "wave", "line" and "step".
        amplitude: Interval of A, as in `Sinusoids`.
        phase: Interval of φ, as in `Sinusoids`.
        slope: Interval of s.
        intercept: Interval of c.
        height: Interval of h. Negative: the step goes down.
        place: Interval of where the step is.
        x_range: Interval of the inputs.
        noise: As in `Sinusoids`.
        dtype: Of the tensors returned. None: torch's default.

    Raises:
        TypeError: If a count is not an integer or an interval not two numbers.
        ValueError: If a count is too small, a kind is unknown, repeated or none, an interval is
            reversed or not finite, or `noise` is negative.
    """

    n_shot: int = 10
    n_query: int = 10
    kinds: tuple[str, ...] = KINDS
    amplitude: Interval = Sinusoids.amplitude
    phase: Interval = Sinusoids.phase
    slope: Interval = (-1.0, 1.0)
    intercept: Interval = (-2.0, 2.0)
    height: Interval = (-3.0, 3.0)
    place: Interval = (-2.5, 2.5)
    x_range: Interval = Sinusoids.x_range
    noise: float = 0.0
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_int("n_shot", self.n_shot, minimum=0)
        check_int("n_query", self.n_query, minimum=1)
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"kinds must be distinct and at least one; got {self.kinds}.")
        for kind in self.kinds:
            check_choice("a kind", kind, KINDS)
        intervals = ("amplitude", "phase", "slope", "intercept", "height", "place", "x_range")
        for name in intervals:
            check_interval(name, getattr(self, name))
        check_spread("noise", self.noise)

    def curves(self, n_tasks: int, *, generator: torch.Generator | None = None) -> Curves:
        """Draw the tasks themselves: a kind and two numbers for each."""
        check_int("n_tasks", n_tasks, minimum=1)
        which = uniform((0.0, len(self.kinds)), (n_tasks,), generator).long()
        kind = torch.tensor([KINDS.index(k) for k in self.kinds], device=which.device)[which]
        size = uniform((0.0, 1.0), (n_tasks,), generator)
        place = uniform((0.0, 1.0), (n_tasks,), generator)
        return Curves(
            kind,
            _within((self.amplitude, self.slope, self.height), kind, size),
            _within((self.phase, self.intercept, self.place), kind, place),
        )

    def points(self, curves: Curves, *, generator: torch.Generator | None = None) -> Tasks:
        """Draw support and query points on given curves, as float64."""
        size = (len(curves.kind), self.n_shot + self.n_query, 1)
        x = uniform(self.x_range, size, generator)
        return with_noise(split(Examples(x, curves(x)), self.n_shot), self.noise, generator)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` curves, then their points; `curves` and `points` in turn draw the same."""
        tasks = self.points(self.curves(n_tasks, generator=generator), generator=generator)
        return tasks.to(device, self.dtype or torch.get_default_dtype())


def _within(
    intervals: tuple[Interval, ...], kind: Int64[Tensor, "task"], share: Float[Tensor, "task"]
) -> Float[Tensor, "task"]:
    """Each task's number in the interval of its kind, `share` of the way up."""
    ends = torch.tensor(intervals, dtype=share.dtype, device=share.device)[kind]
    return ends[:, 0] + share * (ends[:, 1] - ends[:, 0])
