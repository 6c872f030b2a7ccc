"""Conjugate gradients: linear equations by products with the matrix alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from mlcode.checks import check_int
from mlcode.optimization.curvature import dot
from mlcode.optimization.inner_loop import Parameters


def conjugate_gradients(
    times: Callable[[Parameters], Parameters], b: Parameters, n_steps: int
) -> Parameters:
    """Solve A x = b for a symmetric positive definite A, known by its products alone.

    After k steps the error, measured by √(eᵀAe), is at most 2((√κ − 1)/(√κ + 1))ᵏ times that of the
    start at x = b, with κ the ratio of A's largest to its smallest eigenvalue. In as many steps
    as A has different eigenvalues the solution is exact, but for rounding.

    Args:
        times: `times(v)` is A v.
        b: The right-hand side.
        n_steps: How many products are spent on improving x, which begins as b: with 0 steps the
            answer is b, which for implicit MAML is the first-order meta-gradient.

    Raises:
        TypeError: If `n_steps` is not an integer.
        ValueError: If `n_steps` is negative.
    """
    return solve(times, b, n_steps)[0]


def solve(
    times: Callable[[Parameters], Parameters], b: Parameters, n_steps: int
) -> tuple[Parameters, Parameters]:
    """As `conjugate_gradients`, and what is left of the equation, the residual b − A x.

    Without steps nothing was to be solved, and the residual counts as zero.
    """
    check_int("n_steps", n_steps, minimum=0)
    if n_steps == 0:
        return b, {name: torch.zeros_like(v) for name, v in b.items()}
    x = b
    residual = {name: b[name] - Ax for name, Ax in times(x).items()}
    direction, size = residual, dot(residual, residual)
    for _ in range(n_steps):
        product = times(direction)
        step = _ratio(size, dot(direction, product))
        x = {name: x[name] + step * direction[name] for name in x}
        residual = {name: residual[name] - step * product[name] for name in x}
        before, size = size, dot(residual, residual)
        turn = _ratio(size, before)
        direction = {name: residual[name] + turn * direction[name] for name in x}
    return x, residual


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 once the residual has vanished: the solution is found, no step is left."""
    found = b == 0
    return torch.where(found, 0.0, a / torch.where(found, 1.0, b))
