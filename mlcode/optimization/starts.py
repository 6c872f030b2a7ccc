"""Where an optimizer begins: random weights for many copies of a network at once."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.batch_norm import check_stateless
from mlcode.checks import check_int
from mlcode.optimization.inner_loop import Parameters


class Starts(nn.Module):
    """Draws fresh weights of a network as vectors, one for each of many tasks.

    Weights and biases of linear layers and convolutions are uniform within ±1/√n, for n inputs of
    a unit, as torch itself draws them; any other parameter begins as the model has it. Torch's own
    `reset_parameters` writes into one network, and so cannot serve a batch of tasks.

    Args:
        model: The network, of whose trainable parameters the vectors are made, in their order.

    Raises:
        TypeError: If `model` is no module.
        ValueError: If it has no trainable parameter, or a batch norm keeps running statistics.
    """

    own: Tensor
    spread: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        check_stateless(model)
        trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise ValueError("the model has no trainable parameter, so nothing can be optimized.")
        bounds = _bounds(model)
        self.shapes = {name: p.shape for name, p in trained.items()}
        self.register_buffer("own", torch.cat([p.flatten() for p in trained.values()]))
        spread = [torch.full_like(p, bounds.get(n, 0.0)).flatten() for n, p in trained.items()]
        self.register_buffer("spread", torch.cat(spread))

    def sample(
        self, n_tasks: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "task coordinate"]:
        """Draw `n_tasks` vectors of weights.

        They are drawn in float64 where the generator lives, the CPU as a rule, then cast and moved:
        a seed gives the same starts on every device.

        Raises:
            TypeError: If `n_tasks` is not an integer.
            ValueError: If `n_tasks` is below 1.
        """
        check_int("n_tasks", n_tasks, minimum=1)
        at = generator.device if generator is not None else "cpu"
        size = (n_tasks, len(self.own))
        uniform = 2 * torch.rand(size, generator=generator, device=at, dtype=torch.float64) - 1
        return torch.where(self.spread > 0, self.spread * uniform.to(self.own), self.own)

    def named(self, start: Float[Tensor, "coordinate"]) -> Parameters:
        """A vector of weights as parameters by name."""
        parts = start.split([shape.numel() for shape in self.shapes.values()])
        return {n: part.reshape(shape) for (n, shape), part in zip(self.shapes.items(), parts)}

    def extra_repr(self) -> str:
        """The number of coordinates, for `repr`."""
        return f"{len(self.own)}"


def _bounds(model: nn.Module) -> dict[str, float]:
    """How far from 0 the parameters of linear layers and convolutions are drawn, by name."""
    return {
        f"{prefix}.{name}" if prefix else name: 1 / math.sqrt(layer.weight[0].numel())
        for prefix, layer in model.named_modules()
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))
        for name, _ in layer.named_parameters(recurse=False)
    }
