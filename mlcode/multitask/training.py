"""Training several tasks at once.

`mlcode.training.train` takes batches of tasks of one shape, a tensor for all, and one loss. Here a
batch is a mapping whose tasks differ in size and shape, and gradient surgery must see each task's
gradient before they are added. That leaves nothing of that loop but the loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from mlcode.checks import check_int
from mlcode.multitask.batch_sources import BatchSource
from mlcode.multitask.joint import JointLearner
from mlcode.multitask.surgery import project_conflicts


@dataclass(frozen=True)
class JointHistory:
    """What happened in each iteration: the loss of each task before the step, unweighted.

    NaN where a task had no examples in the batch.
    """

    names: tuple[str, ...]
    losses: Float[np.ndarray, "iteration task"]

    def __len__(self) -> int:
        return len(self.losses)


def train_jointly(
    learner: JointLearner,
    source: BatchSource,
    *,
    n_iterations: int,
    optimizer: Optimizer,
    surgery: bool = False,
    generator: torch.Generator | None = None,
) -> JointHistory:
    """Train `learner` in place on batches of several tasks, where its parameters lie.

    Args:
        learner: `HardSharing`, `Families` or another `JointLearner`; left in training mode.
        source: Draws the batches, such as `ExampleBatches(data)`.
        n_iterations: Optimizer steps.
        optimizer: Of the learner's parameters, learned weights among them.
        surgery: Project conflicting gradients of shared parameters first (PCGrad); see
            `fill_gradients`.
        generator: Draws the batches and the orders of surgery. None: torch's global one.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is negative or a loss is not finite.
    """
    check_int("n_iterations", n_iterations, minimum=0)
    device = next(learner.parameters()).device
    losses = np.full((n_iterations, len(learner.names)), np.nan)
    learner.train()
    for iteration in range(n_iterations):
        batch = source.sample(generator=generator, device=device)
        optimizer.zero_grad()
        found = fill_gradients(learner, batch, surgery=surgery, generator=generator)
        for name, loss in found.items():
            losses[iteration, learner.names.index(name)] = loss
        optimizer.step()
    return JointHistory(learner.names, losses)


def fill_gradients(
    learner: JointLearner,
    batch: Mapping[str, Any],
    *,
    surgery: bool = False,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """Set `.grad` of every parameter to the gradient of the objective; return the tasks' losses.

    With `surgery`, the gradients of parameters that two or more tasks of the batch depend on go
    through `project_conflicts` before they are added; a head, on which one task depends, is left
    alone. The gradients are those of the weighted terms: weights act first.

    Raises:
        ValueError: If a loss is not finite whose task has a weight.
    """
    losses = learner.losses(batch)
    terms = learner.weighting(losses)
    for name in terms:
        if not losses[name].isfinite():
            raise ValueError(
                f"the loss of task {name!r} is {float(losses[name].detach())}. Nothing was "
                "stepped. Try a smaller learning rate, or leave the task out by a weight of 0."
            )
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not surgery:
        total = torch.stack(list(terms.values())).sum()
        found = torch.autograd.grad(total, parameters, allow_unused=True)
        _fill(parameters, found)
    else:
        own = _by_task(terms, parameters)
        _fill(parameters, [_sum([own[name][i] for name in own]) for i in range(len(parameters))])
        shared = _shared(own, parameters)
        if shared:
            flat = torch.stack([_flat(gradients, shared, parameters) for gradients in own.values()])
            repaired = project_conflicts(flat, generator=generator).sum(0)
            sizes = [parameters[i].numel() for i in shared]
            for i, piece in zip(shared, repaired.split(sizes)):
                parameters[i].grad = piece.view_as(parameters[i])
    return {name: float(loss.detach()) for name, loss in losses.items()}


def shared_gradients(
    learner: JointLearner, batch: Mapping[str, Any]
) -> tuple[tuple[str, ...], Float[Tensor, "task parameter"]]:
    """Each task's gradient of the parameters that two or more tasks share, one row a task.

    Of the losses as they are, unweighted. `gradient_cosines` of it says which tasks conflict.

    Raises:
        ValueError: If the tasks of the batch share no parameter.
    """
    parameters = [p for p in learner.parameters() if p.requires_grad]
    own = _by_task(learner.losses(batch), parameters)
    shared = _shared(own, parameters)
    if not shared:
        raise ValueError(f"the tasks {', '.join(own)} share no parameter in this batch.")
    return tuple(own), torch.stack([_flat(own[name], shared, parameters) for name in own])


def _by_task(
    terms: Mapping[str, Tensor], parameters: list[nn.Parameter]
) -> dict[str, tuple[Tensor | None, ...]]:
    return {
        name: torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        for name, term in terms.items()
    }


def _shared(own: Mapping[str, tuple], parameters: list[nn.Parameter]) -> list[int]:
    """Which parameters more than one task depends on."""
    counts = [sum(g[i] is not None for g in own.values()) for i in range(len(parameters))]
    return [i for i, count in enumerate(counts) if count > 1]


def _flat(gradients: tuple, which: list[int], parameters: list[nn.Parameter]) -> Tensor:
    """A task's gradient of some parameters as one vector; 0 where it does not depend on one."""
    pieces = [
        torch.zeros_like(parameters[i]) if gradients[i] is None else gradients[i] for i in which
    ]
    return torch.cat([piece.flatten() for piece in pieces])


def _sum(gradients: list[Tensor | None]) -> Tensor | None:
    there = [g for g in gradients if g is not None]
    return torch.stack(there).sum(0) if there else None


def _fill(parameters: list[nn.Parameter], gradients: Any) -> None:
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient
