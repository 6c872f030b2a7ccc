"""What is compared: one meta-step, which is a loss, its meta-gradient and the step that follows."""

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.tasks import Tasks

Parameters = dict[str, Tensor]

# Adds the meta-gradient to `.grad` of the model it was prepared with, as `backward` does, and
# returns the loss without its graph.
MetaGradient = Callable[[Tasks], Tensor]

# What a library's user writes once, before training: from a model and the algorithm's settings to
# the function that each iteration calls.
Prepare = Callable[[nn.Module, Any], MetaGradient]


class MetaStep(NamedTuple):
    """One step of meta-training, as seen from outside."""

    loss: Float[Tensor, ""]  # mean query loss over tasks, before the step
    gradient: Parameters  # the meta-gradient, by the names of `model.named_parameters()`
    parameters: Parameters  # the parameters after one step of Adam


class Difference(NamedTuple):
    """How far two meta-steps are apart, relative to the second's largest magnitude."""

    loss: float
    gradient: float
    parameters: float


def meta_step(prepare: Prepare, model: nn.Module, tasks: Tasks, setting: Any) -> MetaStep:
    """Take one meta-step from a copy of `model`, which stays as it is.

    Args:
        prepare: The library to take it with.
        model: Where it starts. Every parameter is adapted and meta-learned.
        tasks: The batch.
        setting: The algorithm's settings, `meta_lr` among them: the learning rate of the outer
            optimizer, Adam with torch's defaults.

    Raises:
        ValueError: If a parameter gets no gradient, so that there is nothing to compare.
    """
    model = deepcopy(model)
    model.zero_grad(set_to_none=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=setting.meta_lr)
    loss = prepare(model, setting)(tasks)
    gradient = {name: _gradient(name, p) for name, p in model.named_parameters()}
    optimizer.step()
    after = {name: p.detach().clone() for name, p in model.named_parameters()}
    return MetaStep(loss, gradient, after)


def _gradient(name: str, parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise ValueError(f"the loss does not reach the parameter {name!r}: it has no gradient.")
    return parameter.grad.detach().clone()


def difference(ours: MetaStep, theirs: MetaStep) -> Difference:
    """Relative differences of loss, meta-gradient and parameters; see `relative_difference`."""
    return Difference(
        relative_difference({"loss": ours.loss}, {"loss": theirs.loss}),
        relative_difference(ours.gradient, theirs.gradient),
        relative_difference(ours.parameters, theirs.parameters),
    )


def largest(values: Iterable[float], default: float = 0.0) -> float:
    """The largest value, and NaN if one is NaN: Python's `max` may pass over it."""
    return max(values, key=lambda value: (math.isnan(value), value), default=default)


def relative_difference(a: Parameters, b: Parameters) -> float:
    """The largest `|a − b|` over the largest `|b|`, each over all entries of all tensors.

    One scale for all tensors: entries far below the largest are compared by what they contribute
    to a step, not each by its own size. Two sets of zeros differ by 0.

    Raises:
        ValueError: If names or shapes differ.
    """
    shapes = [{name: tuple(t.shape) for name, t in tensors.items()} for tensors in (a, b)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"expected the same names and shapes; got {shapes[0]} and {shapes[1]}.")
    apart = largest((a[name] - b[name]).abs().max().item() for name in b)
    scale = largest(tensor.abs().max().item() for tensor in b.values())
    # NaN must not pass for agreement, so only an exact zero is excused from the division.
    return 0.0 if apart == 0.0 else apart / scale if scale > 0 else float("inf")
