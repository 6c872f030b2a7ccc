"""Linear regression: tasks simple enough that everything about them has a closed form."""

from dataclasses import dataclass

import torch

from mlcode.checks import check_int, check_positive, check_spread
from mlcode.sources.drawing import normal, split
from mlcode.tasks import Examples, Tasks


@dataclass(frozen=True)
class LinearFunctions:
    """Few-shot regression of y = wᵀx + ε with w ~ N(0, I), x ~ N(0, I) and ε ~ N(0, σ²).

    The two scales stretch w and x, to see how a learner does on tasks unlike those it was made for.

    Args:
        n_features: Length of x.
        n_shot: Support points a task.
        n_query: Query points a task.
        noise: σ, the standard deviation of ε, in units of y.
        dtype: Of the tensors returned. None: torch's default.
        x_scale: Standard deviation of the entries of x.
        w_scale: Standard deviation of the entries of w.

    Raises:
        TypeError: If a count is not an integer, or `noise` or a scale no number.
        ValueError: If a count is too small, `noise` is negative, a scale not positive, or one of
            them not finite.
    """

    n_features: int = 1
    n_shot: int = 10
    n_query: int = 10
    noise: float = 0.0
    dtype: torch.dtype | None = None
    x_scale: float = 1.0
    w_scale: float = 1.0

    def __post_init__(self) -> None:
        check_int("n_features", self.n_features, minimum=1)
        check_int("n_shot", self.n_shot, minimum=0)
        check_int("n_query", self.n_query, minimum=1)
        check_spread("noise", self.noise)
        check_positive("x_scale", self.x_scale)
        check_positive("w_scale", self.w_scale)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` weight vectors, then their points, in float64 as `Sinusoids` does."""
        check_int("n_tasks", n_tasks, minimum=1)
        n_points = self.n_shot + self.n_query
        w = self.w_scale * normal(n_tasks, self.n_features, 1, generator=generator)
        x = self.x_scale * normal(n_tasks, n_points, self.n_features, generator=generator)
        y = x @ w + self.noise * normal(n_tasks, n_points, 1, generator=generator)
        tasks = split(Examples(x, y), self.n_shot)
        return tasks.to(device, self.dtype or torch.get_default_dtype())
