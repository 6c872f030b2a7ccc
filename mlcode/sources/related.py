"""Regressions with as much in common as one likes: where sharing helps, and where it hurts."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_int, check_interval, check_spread
from mlcode.sources.drawing import normal, split, with_noise
from mlcode.tasks import Examples, Tasks


@dataclass(frozen=True)
class RelatedFunctions:
    """Few-shot regression of y = wᵀx + ε, where the w of all tasks have directions in common.

    w = √ρ B a + √(1 − ρ) e, with B the `n_common` directions of this world, the same for every
    task, and a and e a task's own, Gaussian with ‖B a‖² and ‖e‖² of mean 1. So ρ = `relatedness` is
    the share of what a task asks for that lies in the common directions, and the targets' variance
    is 1 whatever it is. x ~ N(0, I) and ε ~ N(0, σ²).

    At ρ = 1 a trunk of `n_common` features serves all tasks, and every example of one task teaches
    it something for the others. At ρ = 0 there is nothing in common, and a trunk with fewer
    features than there are tasks has to give something up for each.

    A batch of tasks is also the data of a multi-task problem: their support sets to train on and
    their queries to test on; `mlcode.multitask.by_name` gives each a name.

    Args:
        relatedness: ρ, from 0 to 1.
        n_features: Length of x.
        n_common: How many directions tasks have in common.
        n_shot: Support points a task.
        n_query: Query points a task.
        noise: σ, of support targets, in units of y; queries stay exact.
        world: Which common directions: its number is the seed of B. Tasks of two worlds are as
            unrelated as at ρ = 0.
        shared_inputs: Whether all tasks of a batch have the same inputs.
        dtype: Of the tensors returned. None: torch's default.

    Raises:
        TypeError: If a count is not an integer, or `relatedness` or `noise` no number.
        ValueError: If `relatedness` is not in [0, 1], there are more common directions than
            features, a count is too small or `noise` negative.
    """

    relatedness: float = 1.0
    n_features: int = 12
    n_common: int = 2
    n_shot: int = 10
    n_query: int = 50
    noise: float = 0.0
    world: int = 0
    shared_inputs: bool = False
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        for name in ("n_features", "n_common", "n_query"):
            check_int(name, getattr(self, name), minimum=1)
        check_int("n_shot", self.n_shot, minimum=0)
        check_int("world", self.world, minimum=0)
        check_interval("(0, relatedness)", (0.0, self.relatedness))
        check_spread("noise", self.noise)
        if self.relatedness > 1:
            raise ValueError(f"relatedness must lie between 0 and 1; got {self.relatedness}.")
        if self.n_common > self.n_features:
            raise ValueError(
                f"{self.n_features} features have no {self.n_common} different directions; use "
                f"n_common <= {self.n_features}."
            )

    @property
    def directions(self) -> Float[Tensor, "feature direction"]:
        """The orthonormal columns of B, the common directions of this world, in float64."""
        seed = torch.Generator().manual_seed(self.world)
        square = torch.randn(self.n_features, self.n_common, generator=seed, dtype=torch.float64)
        return torch.linalg.qr(square).Q

    def weights(
        self, n_tasks: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "task feature"]:
        """Draw the w of `n_tasks` tasks."""
        check_int("n_tasks", n_tasks, minimum=1)
        common = normal(n_tasks, self.n_common, generator=generator) / math.sqrt(self.n_common)
        own = normal(n_tasks, self.n_features, generator=generator) / math.sqrt(self.n_features)
        common = common @ self.directions.T.to(common.device)
        return math.sqrt(self.relatedness) * common + math.sqrt(1 - self.relatedness) * own

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` tasks, then their points, in float64 as `Sinusoids` does."""
        w = self.weights(n_tasks, generator=generator)
        n_points = self.n_shot + self.n_query
        n_inputs = 1 if self.shared_inputs else n_tasks
        x = normal(n_inputs, n_points, self.n_features, generator=generator)
        x = x.expand(n_tasks, -1, -1)
        tasks = with_noise(split(Examples(x, x @ w[..., None]), self.n_shot), self.noise, generator)
        return tasks.to(device, self.dtype or torch.get_default_dtype())
