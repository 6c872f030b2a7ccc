"""Reptile's meta-gradient in mlcode, in learn2learn and higher, and by hand as it is published."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlcode import peers
from mlcode.engine import compiled_gradient
from mlcode.optimization.reptile import Reptile
from mlcode.peers.maml import MAMLSetting, add_gradient, each, torch_optimizer
from mlcode.peers.meta_step import MetaGradient
from mlcode.peers.networks import own_network
from mlcode.peers.rules import AdamSetting
from mlcode.tasks import Tasks

# Inputs and targets of one task to the weights after the inner steps.
Trained = Callable[[Tensor, Tensor], list[Tensor]]


@dataclass(frozen=True)
class ReptileSetting(MAMLSetting):
    """The settings of a Reptile step; a task is trained on with all its examples at each step."""

    n_inner_steps: int = 5
    inner_lr: float = 0.02

    def __str__(self) -> str:
        return f"{self.n_inner_steps} step{'s' if self.n_inner_steps != 1 else ''}"


@dataclass(frozen=True)
class ReptileAdamSetting(AdamSetting):
    """The settings of a Reptile step with its published inner loop, Adam with β₁ = 0."""

    inner_lr: float = 0.001
    betas: tuple[float, float] = (0.0, 0.999)
    eps: float = 1e-8  # as published: no derivative is taken through the inner loop

    def __str__(self) -> str:
        return f"{self.n_inner_steps} step{'s' if self.n_inner_steps != 1 else ''}"


def reptile_learner(model: nn.Module, setting: MAMLSetting) -> Reptile:
    """mlcode's Reptile of a setting."""
    return Reptile(
        own_network(model),
        n_inner_steps=setting.n_inner_steps,
        loss_fn=setting.loss_fn,
        rule=setting.rule,
    )


def by_mlcode(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """The gradient of the surrogate loss, which is half the squared way to the trained weights."""
    learner = reptile_learner(model, setting)

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        loss.backward()
        return loss.detach()

    return meta_gradient


def by_mlcode_compiled(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """The same with loss and gradient in one compiled graph."""
    return compiled_gradient(reptile_learner(model, setting))


def by_learn2learn(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """Clone and adapt, as for MAML of first order; the way from the clone's weights by hand."""
    maml = peers.learn2learn.algorithms.MAML(model, lr=setting.inner_lr, first_order=True)

    def trained(x: Tensor, y: Tensor) -> list[Tensor]:
        clone = maml.clone()
        for _ in range(setting.n_inner_steps):
            clone.adapt(setting.loss_fn(clone(x), y))
        return list(clone.parameters())

    return _towards(trained, model)


def by_higher(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """An ordinary optimizer on a functional copy, without its graph."""
    optimizer = torch_optimizer(setting, list(model.parameters()))

    def trained(x: Tensor, y: Tensor) -> list[Tensor]:
        with peers.higher.innerloop_ctx(model, optimizer, track_higher_grads=False) as (
            fast,
            inner,
        ):
            for step in range(1, setting.n_inner_steps + 1):
                inner.step(setting.loss_fn(fast(x), y), override=setting.override(step))
            return list(fast.parameters())

    return _towards(trained, model)


def by_hand(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """Copy the model, train the copy with torch's optimizer, and see how far it came."""

    def trained(x: Tensor, y: Tensor) -> list[Tensor]:
        copy = deepcopy(model)
        optimizer = torch_optimizer(setting, list(copy.parameters()))
        for _ in range(setting.n_inner_steps):
            optimizer.zero_grad()
            setting.loss_fn(copy(x), y).backward()
            optimizer.step()
        return list(copy.parameters())

    return _towards(trained, model)


def _towards(trained: Trained, model: nn.Module) -> MetaGradient:
    """θ − θ′, averaged over tasks, as the gradient; half its squared length, averaged, as loss."""
    start = list(model.parameters())

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = start[0].new_zeros(())
        for (x, y), (query_x, query_y) in each(tasks):
            end = trained(torch.cat([x, query_x]), torch.cat([y, query_y]))
            with torch.no_grad():
                way = tuple((p - q) / tasks.n_tasks for p, q in zip(start, end))
                add_gradient(start, way)
                loss += torch.stack([w.square().sum() for w in way]).sum() * tasks.n_tasks / 2
        return loss

    return meta_gradient
