"""MAML's meta-gradient in mlcode, learn2learn, higher and TorchOpt, each as its users write it."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mlcode import peers
from mlcode.learner import LossFn
from mlcode.optimization.inner_loop import UpdateRule
from mlcode.optimization.maml import MAML
from mlcode.optimization.rules import GradientDescent
from mlcode.peers.meta_step import MetaGradient
from mlcode.peers.networks import own_network
from mlcode.tasks import Tasks


@dataclass(frozen=True)
class MAMLSetting:
    """The settings of a MAML step; the defaults are the paper's for sinusoids."""

    n_inner_steps: int = 1
    first_order: bool = False
    inner_lr: float = 0.01
    meta_lr: float = 0.001
    loss_fn: LossFn = F.mse_loss

    @property
    def rule(self) -> UpdateRule:
        """The inner step in mlcode."""
        return GradientDescent(self.inner_lr)

    @property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        """The inner step in torch, higher and TorchOpt: the optimizer's name and its options."""
        return "SGD", {"lr": self.inner_lr}

    def override(self, step: int) -> dict[str, list] | None:
        """Options that higher's optimizer needs in inner step number `step`, counted from 1."""
        return None

    def __str__(self) -> str:
        steps = f"{self.n_inner_steps} step{'s' if self.n_inner_steps != 1 else ''}"
        return f"{steps}, {'first' if self.first_order else 'second'} order"


def maml_learner(model: nn.Module, setting: MAMLSetting) -> MAML:
    """mlcode's learner with these settings, around `model` itself or its `own_network`."""
    return MAML(
        own_network(model),
        inner_lr=setting.inner_lr,
        n_inner_steps=setting.n_inner_steps,
        loss_fn=setting.loss_fn,
        first_order=setting.first_order,
        rule=setting.rule,
    )


def by_mlcode(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """Map one task's adaptation over all tasks at once."""
    learner = maml_learner(model, setting)

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        loss.backward()
        return loss.detach()

    return meta_gradient


def by_learn2learn(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """Clone the wrapped model for each task and adapt the clone."""
    maml = peers.learn2learn.algorithms.MAML(
        model, lr=setting.inner_lr, first_order=setting.first_order
    )

    def meta_gradient(tasks: Tasks) -> Tensor:
        losses = []
        for (x, y), (query_x, query_y) in each(tasks):
            clone = maml.clone()
            for _ in range(setting.n_inner_steps):
                clone.adapt(setting.loss_fn(clone(x), y))
            losses.append(setting.loss_fn(clone(query_x), query_y))
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.detach()

    return meta_gradient


def by_higher(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """Unroll a differentiable copy of an ordinary optimizer.

    `copy_initial_weights=False`, since the default detaches from the initial weights and leaves no
    meta-gradient. Without higher gradients the adapted weights are leaves: the first-order
    meta-gradient is by definition the query loss's gradient there, handed to the initial weights.
    """
    parameters = list(model.parameters())
    optimizer = torch_optimizer(setting, parameters)

    def meta_gradient(tasks: Tasks) -> Tensor:
        total = parameters[0].new_zeros(())
        for (x, y), (query_x, query_y) in each(tasks):
            with peers.higher.innerloop_ctx(
                model,
                optimizer,
                copy_initial_weights=False,
                track_higher_grads=not setting.first_order,
            ) as (fast, inner):
                for step in range(1, setting.n_inner_steps + 1):
                    inner.step(setting.loss_fn(fast(x), y), override=setting.override(step))
                loss = setting.loss_fn(fast(query_x), query_y) / tasks.n_tasks
                if setting.first_order:
                    adapted = list(fast.parameters())
                    add_gradient(parameters, torch.autograd.grad(loss, adapted))
                else:
                    loss.backward()
            total = total + loss.detach()
        return total

    return meta_gradient


def by_torchopt(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """TorchOpt's `MetaSGD`, which keeps the graph of each step; without it, its functional SGD.

    Or whichever optimizer the setting names. In the model's dtype by default: TorchOpt's Adam
    corrects its means with powers of β in torch's default dtype, float32 unless it is set.
    """
    prepare = _first_order if setting.first_order else _second_order
    meta_gradient = prepare(model, setting)
    dtype = next(model.parameters()).dtype

    def in_dtype(tasks: Tasks) -> Tensor:
        with default_dtype(dtype):
            return meta_gradient(tasks)

    return in_dtype


def _second_order(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    torchopt = peers.torchopt
    name, options = setting.optimizer
    inner = getattr(torchopt, f"Meta{name}")(model, **options)

    def meta_gradient(tasks: Tasks) -> Tensor:
        weights = torchopt.extract_state_dict(model, by="reference", detach_buffers=True)
        state = torchopt.extract_state_dict(inner, by="reference")
        losses = []
        for (x, y), (query_x, query_y) in each(tasks):
            for _ in range(setting.n_inner_steps):
                inner.step(setting.loss_fn(model(x), y))
            losses.append(setting.loss_fn(model(query_x), query_y))
            torchopt.recover_state_dict(model, weights)
            torchopt.recover_state_dict(inner, state)
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.detach()

    return meta_gradient


def _first_order(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    torchopt = peers.torchopt
    name, options = setting.optimizer
    inner = getattr(torchopt, name.lower())(**options)
    names, initial = zip(*model.named_parameters())

    def call(weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
        return functional_call(model, dict(zip(names, weights)), (x,))

    def meta_gradient(tasks: Tasks) -> Tensor:
        losses = []
        for (x, y), (query_x, query_y) in each(tasks):
            weights, state = initial, inner.init(initial)
            for _ in range(setting.n_inner_steps):
                # No create_graph: the gradient is a constant, the step still hangs on `initial`.
                grads = torch.autograd.grad(setting.loss_fn(call(weights, x), y), weights)
                updates, state = inner.update(grads, state, params=weights, inplace=False)
                weights = torchopt.apply_updates(weights, updates, inplace=False)
            losses.append(setting.loss_fn(call(weights, query_x), query_y))
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.detach()

    return meta_gradient


def torch_optimizer(setting: MAMLSetting, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The inner step's optimizer in torch itself."""
    name, options = setting.optimizer
    return getattr(torch.optim, name)(parameters, **options)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make `dtype` torch's default meanwhile."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def each(tasks: Tasks):
    """The tasks one by one: `((x, y), (query_x, query_y))`."""
    return (
        (tuple(task.support), tuple(task.query)) for task in map(tasks.select, range(tasks.n_tasks))
    )


def add_gradient(parameters: list[nn.Parameter], gradients: tuple[Tensor, ...]) -> None:
    """Add to `.grad`, as `backward` would."""
    for p, g in zip(parameters, gradients):
        p.grad = g if p.grad is None else p.grad + g
