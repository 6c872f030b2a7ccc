"""Conjugate gradients: linear equations by products with the matrix alone."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_int
from mlcode.optimization.curvature import dot
from mlcode.optimization.inner_loop import Parameters


class Solution(NamedTuple):
    """What conjugate gradients found for A x = b, and two signs of whether to believe it.

    Curvature is the least vᵀAv/vᵀv of the vectors v that A was applied to, rounding left out. It
    lies between A's eigenvalues: 0 or less proves that A is not positive definite, and then x is
    nothing's minimum. More than 0 proves nothing.
    """

    x: Parameters  # the answer
    residual: Float[Tensor, ""]  # ‖b − A x‖/‖b‖, what is left of the equation; 0 without steps
    curvature: Float[Tensor, ""]  # infinite without steps


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
    return solve(times, b, n_steps).x


def solve(times: Callable[[Parameters], Parameters], b: Parameters, n_steps: int) -> Solution:
    """As `conjugate_gradients`, with what it takes to doubt the answer."""
    check_int("n_steps", n_steps, minimum=0)
    squared = dot(b, b)
    if n_steps == 0:
        return Solution(b, torch.zeros_like(squared), torch.full_like(squared, torch.inf))
    x, product = b, times(b)
    noise = squared * torch.finfo(squared.dtype).eps ** 2  # of a residual, once x is found
    curvature = _curvature(dot(b, product), squared, noise)
    residual = {name: b[name] - product[name] for name in b}
    direction, size = residual, dot(residual, residual)
    for _ in range(n_steps):
        product = times(direction)
        bend, length = dot(direction, product), dot(direction, direction)
        curvature = torch.minimum(curvature, _curvature(bend, length, noise))
        step = _ratio(size, bend)
        x = {name: x[name] + step * direction[name] for name in x}
        residual = {name: residual[name] - step * product[name] for name in x}
        before, size = size, dot(residual, residual)
        turn = _ratio(size, before)
        direction = {name: residual[name] + turn * direction[name] for name in x}
    return Solution(x, (size / squared.clamp(min=1e-30)).sqrt(), curvature)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, and 0 once the residual has vanished: the solution is found, no step is left."""
    found = b == 0
    return torch.where(found, 0.0, a / torch.where(found, 1.0, b))


def _curvature(bend: Tensor, length: Tensor, noise: Tensor) -> Tensor:
    """vᵀAv/vᵀv; a vector no longer than rounding errors says nothing."""
    return torch.where(length > noise, _ratio(bend, length), torch.inf)
