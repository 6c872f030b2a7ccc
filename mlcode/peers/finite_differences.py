"""The third witness: slopes measured by moving the weights a little, with no derivative of ours."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.peers.meta_step import Parameters

# A scalar function of a shift of the parameters, whose gradient at no shift is the meta-gradient.
Objective = Callable[[Parameters], Tensor]

# Rounding costs about 1e-16·loss/STEP, and a ReLU that switches within STEP costs far more, which
# grows with STEP; the curvature that a central difference leaves out, STEP², never matters here.
STEP = 1e-7


def slopes(
    objective: Objective, directions: list[Parameters], step: float = STEP
) -> Float[Tensor, "direction"]:
    """Central differences (f(+h·d) − f(−h·d)) / 2h along each direction d.

    Args:
        objective: Evaluated twice for each direction. Use float64: float32 leaves no digits.
        directions: Shifts of the parameters, of length 1.
        step: h, in units of the parameters.
    """
    return torch.stack(
        [
            (objective(scaled(d, step)) - objective(scaled(d, -step))) / (2 * step)
            for d in directions
        ]
    )


def random_directions(
    model: nn.Module, n_directions: int, generator: torch.Generator
) -> list[Parameters]:
    """Directions of length 1, uniform on the sphere.

    Each of them moves every weight, so a wrong entry of the gradient shows in all of them, at two
    evaluations a direction instead of two a weight.
    """
    directions = []
    for _ in range(n_directions):
        d = {
            name: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
            for name, p in model.named_parameters()
        }
        length = torch.stack([t.square().sum() for t in d.values()]).sum().sqrt()
        directions.append({name: t / length for name, t in d.items()})
    return directions


def unit_directions(model: nn.Module) -> list[Parameters]:
    """One direction for each single weight: the whole gradient, for small networks."""
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    return [
        {**zeros, name: torch.eye(zero.numel(), dtype=zero.dtype)[i].view_as(zero)}
        for name, zero in zeros.items()
        for i in range(zero.numel())
    ]


def projections(gradient: Parameters, directions: list[Parameters]) -> Float[Tensor, "direction"]:
    """The slopes that a gradient predicts: ⟨g, d⟩ for each direction d."""
    return torch.stack(
        [torch.stack([(g * d[n]).sum() for n, g in gradient.items()]).sum() for d in directions]
    )


def scaled(direction: Parameters, factor: float) -> Parameters:
    """`factor` times the direction."""
    return {name: factor * t for name, t in direction.items()}
