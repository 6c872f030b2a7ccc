"""MAML's meta-objective in plain PyTorch, for finite differences; nothing of mlcode's MAML."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mlcode.peers.finite_differences import Objective
from mlcode.peers.maml import MAMLSetting, each, torch_optimizer
from mlcode.peers.meta_step import Parameters
from mlcode.tasks import Tasks


def maml_objective(model: nn.Module, tasks: Tasks, setting: MAMLSetting) -> Objective:
    """The function of a shift δ whose gradient at δ = 0 is the meta-gradient.

    Second order: adapt from θ + δ, then take the query loss. First order: adapt from θ, then shift
    the adapted weights, since first-order MAML takes the query loss's gradient there.
    """
    theta = {name: p.detach() for name, p in model.named_parameters()}

    def objective(shift: Parameters) -> Tensor:
        losses = []
        for support, query in each(tasks):
            start = theta if setting.first_order else shifted(theta, shift)
            adapted = descend(model, start, support, setting)
            end = shifted(adapted, shift) if setting.first_order else adapted
            losses.append(loss_at(model, end, query, setting).detach())
        return torch.stack(losses).mean()

    return objective


def descend(
    model: nn.Module, theta: Parameters, support: tuple[Tensor, Tensor], setting: MAMLSetting
) -> Parameters:
    """Take the inner steps by torch's own optimizer, in place: only values are wanted."""
    leaves = {name: t.detach().clone().requires_grad_() for name, t in theta.items()}
    optimizer = torch_optimizer(setting, list(leaves.values()))
    for _ in range(setting.n_inner_steps):
        optimizer.zero_grad()
        loss_at(model, leaves, support, setting).backward()
        optimizer.step()
    return {name: p.detach() for name, p in leaves.items()}


def loss_at(
    model: nn.Module, theta: Parameters, examples: tuple[Tensor, Tensor], setting: MAMLSetting
) -> Tensor:
    """The loss of the model with weights `theta` on `examples`."""
    x, y = examples
    return setting.loss_fn(functional_call(model, theta, (x,)), y)


def shifted(theta: Parameters, shift: Parameters) -> Parameters:
    """θ + δ."""
    return {name: t + shift[name] for name, t in theta.items()}
