"""How sharply a loss bends: the number that decides whether gradient descent settles."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from mlcode.checks import check_int

Parameters = dict[str, Tensor]


def largest_curvature(
    loss: Callable[[Parameters], Tensor], theta: Parameters, *, n_iterations: int = 50
) -> Float[Tensor, ""]:
    """The eigenvalue of largest magnitude of the Hessian of `loss` at `theta`, by power iteration.

    Gradient descent with rate α shrinks the error along an eigenvector of curvature λ by the factor
    1 − αλ a step: it settles where 0 < αλ < 2 and grows without bound where αλ > 2.

    Args:
        loss: A scalar function of the parameters, twice differentiable by `torch.func`.
        theta: Where to look.
        n_iterations: Hessian-vector products. Fifty are enough for the spectra of small networks,
            whose first eigenvalue stands far above the second.

    Raises:
        TypeError: If `n_iterations` is not an integer.
        ValueError: If `n_iterations` is below 1.
    """
    check_int("n_iterations", n_iterations, minimum=1)

    direction = {name: torch.ones_like(p) for name, p in theta.items()}
    for _ in range(n_iterations):
        norm = torch.sqrt(dot(direction, direction))
        direction = {name: v / norm for name, v in direction.items()}
        product = hessian_times(loss, theta, direction)
        curvature = dot(direction, product)
        direction = product
    return curvature


def hessian_times(
    loss: Callable[[Parameters], Tensor], theta: Parameters, v: Parameters
) -> Parameters:
    """The Hessian of `loss` at `theta` times `v`, without the matrix: the gradient of ∇loss · v."""
    return grad(lambda at: dot(grad(loss)(at), v))(theta)


def dot(a: Parameters, b: Parameters) -> Float[Tensor, ""]:
    """The inner product of two sets of parameters: products of like entries, summed."""
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()
