"""How the sources of functions draw numbers, and part them into support set and queries."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlcode.tasks import Examples, Tasks

Interval = tuple[float, float]


def uniform(
    interval: Interval, size: tuple[int, ...], generator: torch.Generator | None
) -> Float[Tensor, "..."]:
    """Uniform draws from `interval` in float64, on the generator's device (else the CPU)."""
    low, high = interval
    return low + (high - low) * torch.rand(
        size, generator=generator, device=_device(generator), dtype=torch.float64
    )


def normal(*size: int, generator: torch.Generator | None) -> Float[Tensor, "..."]:
    """Standard normal draws in float64, on the generator's device (else the CPU)."""
    return torch.randn(*size, generator=generator, device=_device(generator), dtype=torch.float64)


def split(examples: Examples, n_shot: int) -> Tasks:
    """The first `n_shot` examples of each task become its support set, the rest its queries."""
    return Tasks(
        Examples(examples.x[:, :n_shot], examples.y[:, :n_shot]),
        Examples(examples.x[:, n_shot:], examples.y[:, n_shot:]),
    )


def with_noise(tasks: Tasks, noise: float, generator: torch.Generator | None) -> Tasks:
    """Normal noise of spread `noise` on the targets of the support sets; 0 draws nothing."""
    if not noise:
        return tasks
    x, y = tasks.support
    return Tasks(Examples(x, y + noise * normal(*y.shape, generator=generator)), tasks.query)


def _device(generator: torch.Generator | None) -> torch.device | str:
    return generator.device if generator is not None else "cpu"
