"""From the features of a task to the weights of its model, in one pass and within the graph."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.batch_norm import check_stateless
from mlcode.checks import check_int
from mlcode.model_based.task_features import TaskFeatures
from mlcode.optimization.inner_loop import Parameters
from mlcode.tasks import Examples


class WeightGenerator(nn.Module):
    """θ(task) = θ₀ + s ⊙ W h(features): a network whose outputs are another network's weights.

    The outputs are plain tensors that lead back to this module's parameters. They are handed to the
    model by `torch.func.functional_call`; copied into an `nn.Parameter`, they would begin a new
    graph, and nothing here would ever learn (a fault of a text that the book follows).

    A weight of a layer with n inputs is of the size 1/√n, so that is the scale s of what is
    generated for the layer, weights and biases alike. There are `n_weights` of them in all.

    Args:
        model: Whose parameters are generated, those with `requires_grad=True`. Its own values are
            θ₀, what every task has in common.
        features: Reads the support set.
        n_hidden: Width of the two hidden layers h between features and weights.

    Raises:
        TypeError: If `model` is no module, `features` no `TaskFeatures` or `n_hidden` no integer.
        ValueError: If `n_hidden` is below 1, the model has no trainable parameter or keeps running
            statistics.
    """

    scale: Tensor

    def __init__(self, model: nn.Module, features: TaskFeatures, *, n_hidden: int = 64) -> None:
        super().__init__()
        check_stateless(model)
        if not isinstance(features, TaskFeatures):
            raise TypeError(f"features must be TaskFeatures; got {type(features).__name__}.")
        check_int("n_hidden", n_hidden, minimum=1)
        self.model, self.features = model, features
        self.shapes = {n: p.shape for n, p in model.named_parameters() if p.requires_grad}
        if not self.shapes:
            raise ValueError("the model has no trainable parameter: there is nothing to generate.")
        self.n_weights = sum(shape.numel() for shape in self.shapes.values())
        self.hidden = nn.Sequential(
            nn.Linear(features.n_task_features, n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_hidden),
            nn.ReLU(),
        )
        self.last = nn.Linear(n_hidden, self.n_weights, bias=False)  # θ₀ is the bias
        self.register_buffer("scale", scales(model, self.shapes))

    def forward(self, support: Examples) -> Parameters:
        """The weights for one task, by their names in the model."""
        return self.named(self.offset(support))

    def offset(self, support: Examples) -> Float[Tensor, "n_weights"]:
        """What is generated for one task, in one row: how far its weights lie from θ₀, over s."""
        return self.last(self.hidden(self.features(support)))

    def start(self) -> Parameters:
        """θ₀, by name: the model's own trainable parameters."""
        return {n: p for n, p in self.model.named_parameters() if n in self.shapes}

    def named(self, offset: Float[Tensor, "n_weights"]) -> Parameters:
        """θ₀ + s ⊙ `offset`, cut into the model's shapes."""
        parts = (self.scale * offset).split([shape.numel() for shape in self.shapes.values()])
        return {n: p + part.view(p.shape) for (n, p), part in zip(self.start().items(), parts)}

    def flat(self, weights: Parameters) -> Float[Tensor, "n_weights"]:
        """The inverse of `named`: the offset that would give these weights."""
        start = self.start()
        away = [(weights[n] - start[n]).flatten() for n in self.shapes]
        return torch.cat(away) / self.scale

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"n_weights={self.n_weights}"


def scales(model: nn.Module, shapes: dict[str, torch.Size]) -> Float[Tensor, "n_weights"]:
    """1/√n for each weight and bias of a layer with n inputs; 1 where there is no such layer."""
    found = []
    for name, shape in shapes.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        weight = getattr(layer, "weight", None)
        n = weight[0].numel() if isinstance(weight, Tensor) and weight.ndim > 1 else 1
        found.append(torch.full((shape.numel(),), 1 / math.sqrt(n)))
    return torch.cat(found).to(next(model.parameters()))
