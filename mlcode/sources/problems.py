"""Optimization problems as tasks: what a learned optimizer is trained on, and tried on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlcode.checks import check_int, check_positive
from mlcode.sources.drawing import normal
from mlcode.tasks import Examples, Tasks


@dataclass(frozen=True)
class Quadratics:
    """Minimise ‖Wθ − y‖² over θ, with W square and all entries of W and y from N(0, 1).

    The random functions of Andrychowicz et al. (2016, section 3.1), of 10 dimensions there. The
    rows of W are the inputs and y the targets of a linear model without bias,
    `torch.nn.Linear(n_dims, 1, bias=False)`. Under `mse_loss` the function is divided by `n_dims`,
    which makes its curvatures alike in all dimensions. Its smallest value is 0.

    An optimization problem has no other examples, so the queries are the support set.

    Args:
        n_dims: Length of θ.
        dtype: Of the tensors returned. None: torch's default.

    Raises:
        TypeError: If `n_dims` is not an integer.
        ValueError: If `n_dims` is below 1.
    """

    n_dims: int = 10
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_int("n_dims", self.n_dims, minimum=1)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` problems, in float64 as `Sinusoids` does."""
        check_int("n_tasks", n_tasks, minimum=1)
        w = normal(n_tasks, self.n_dims, self.n_dims, generator=generator)
        y = normal(n_tasks, self.n_dims, 1, generator=generator)
        return _problems(w, y, device, self.dtype)


@dataclass(frozen=True)
class LogisticRegressions:
    """Minimise a two-class cross-entropy whose labels no linear model gets all right.

    Inputs are from N(0, I), a label is 1 with probability σ(s wᵀx), w uniform on the sphere. The
    network is `torch.nn.Linear(n_dims, 2, bias=False)`, the loss `cross_entropy`. Unlike a
    quadratic it flattens far from its minimum, and its smallest value is above 0 unless a plane
    happens to part the labels.

    An optimization problem has no other examples, so the queries are the support set.

    Args:
        n_dims: Features of an input.
        n_points: Inputs a problem. Several times `n_dims`, or a plane parts the labels.
        sharpness: s, how surely the label follows the side of the plane on which the input lies.
        dtype: Of the inputs. None: torch's default.

    Raises:
        TypeError: If a count is not an integer or `sharpness` no number.
        ValueError: If a count is below 1 or `sharpness` not positive.
    """

    n_dims: int = 10
    n_points: int = 100
    sharpness: float = 3.0
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_int("n_dims", self.n_dims, minimum=1)
        check_int("n_points", self.n_points, minimum=1)
        check_positive("sharpness", self.sharpness)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` problems, in float64 as `Sinusoids` does; labels are integers."""
        check_int("n_tasks", n_tasks, minimum=1)
        w = normal(n_tasks, self.n_dims, 1, generator=generator)
        x = normal(n_tasks, self.n_points, self.n_dims, generator=generator)
        probability = (self.sharpness * (x @ (w / w.norm(dim=1, keepdim=True)))).sigmoid()[..., 0]
        at = probability.device
        chance = torch.rand(probability.shape, generator=generator, device=at, dtype=torch.float64)
        return _problems(x, (chance < probability).long(), device, self.dtype)


def _problems(
    x: Tensor, y: Tensor, device: torch.device | str | None, dtype: torch.dtype | None
) -> Tasks:
    problem = Examples(x, y).to(device, dtype or torch.get_default_dtype())
    return Tasks(problem, problem)
