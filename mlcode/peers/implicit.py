"""Implicit MAML's meta-gradient in mlcode and TorchOpt, and by solving what can be solved."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from mlcode import peers
from mlcode.optimization.implicit import ImplicitMAML
from mlcode.peers.finite_differences import Objective
from mlcode.peers.maml import MAMLSetting, each
from mlcode.peers.meta_step import MetaGradient, Parameters
from mlcode.peers.networks import own_network
from mlcode.tasks import Tasks

Weights = tuple[Tensor, ...]


@dataclass(frozen=True)
class ImplicitSetting(MAMLSetting):
    """The settings of an implicit step: as many inner and conjugate ones as leave no error.

    The gradient is exact at the exact solution alone; ten digits of one need ten of the other.
    """

    proximity: float = 4.0
    inner_lr: float = 0.1
    n_inner_steps: int = 150
    n_conjugate_steps: int = 30

    def __str__(self) -> str:
        return f"{self.n_inner_steps} steps, {self.n_conjugate_steps} conjugate steps"


def by_mlcode(model: nn.Module, setting: ImplicitSetting) -> MetaGradient:
    """mlcode's learner, whose conjugate gradients take a fixed number of steps."""
    learner = ImplicitMAML(
        own_network(model),
        proximity=setting.proximity,
        inner_lr=setting.inner_lr,
        n_inner_steps=setting.n_inner_steps,
        n_conjugate_steps=setting.n_conjugate_steps,
        loss_fn=setting.loss_fn,
    )

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        loss.backward()
        return loss.detach()

    return meta_gradient


def by_torchopt(model: nn.Module, setting: ImplicitSetting) -> MetaGradient:
    """`custom_root`: a solver, and the equation that its solution solves, which is differentiated.

    The linear system is solved by TorchOpt's conjugate gradients to their last digit.
    """
    torchopt = peers.torchopt
    names, start = zip(*model.named_parameters())

    def regularised(phi: Weights, theta: Weights, x: Tensor, y: Tensor) -> Tensor:
        loss = setting.loss_fn(functional_call(model, dict(zip(names, phi)), (x,)), y)
        away = torch.stack([(p - t).square().sum() for p, t in zip(phi, theta)]).sum()
        return loss + setting.proximity / 2 * away

    def equation(phi: Weights, theta: Weights, x: Tensor, y: Tensor) -> Weights:
        return grad(regularised)(phi, theta, x, y)

    linear = torchopt.linear_solve.solve_cg(rtol=1e-15, atol=0.0)

    @torchopt.diff.implicit.custom_root(equation, argnums=1, solve=linear)
    def solve(phi: Weights, theta: Weights, x: Tensor, y: Tensor) -> Weights:
        for _ in range(setting.n_inner_steps):
            slope = equation(phi, theta, x, y)
            phi = tuple(p - setting.inner_lr * s for p, s in zip(phi, slope))
        return phi

    def meta_gradient(tasks: Tasks) -> Tensor:
        losses = []
        for (x, y), (query_x, query_y) in each(tasks):
            phi = solve(start, start, x, y)
            output = functional_call(model, dict(zip(names, phi)), (query_x,))
            losses.append(setting.loss_fn(output, query_y))
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.detach()

    def quietly(tasks: Tasks) -> Tensor:
        with warnings.catch_warnings():  # it calls functorch by its old name
            warnings.filterwarnings("ignore", message=".*functorch")
            return meta_gradient(tasks)

    return quietly


def exactly(model: nn.Module, setting: ImplicitSetting) -> MetaGradient:
    r"""A linear model under squared loss, solved by matrices.

    With X extended by ones, H = 2 XᵀX/K and A = H + λI: φ = A⁻¹ (2 Xᵀy/K + λθ), and the
    meta-gradient is λ A⁻¹ times the query loss's gradient 2 X_qᵀ(X_q φ − y_q)/Q.
    """
    (layer,) = model.children()
    assert isinstance(layer, nn.Linear)

    def meta_gradient(tasks: Tasks) -> Tensor:
        theta = torch.cat([layer.weight[0], layer.bias]).detach()
        total, loss = torch.zeros_like(theta), theta.new_zeros(())
        for (x, y), (query_x, query_y) in each(tasks):
            x, query_x = (torch.cat([t, torch.ones_like(t[:, :1])], 1) for t in (x, query_x))
            a = 2 * x.T @ x / len(x) + setting.proximity * torch.eye(len(theta)).to(theta)
            phi = torch.linalg.solve(a, 2 * x.T @ y[:, 0] / len(x) + setting.proximity * theta)
            wrong = query_x @ phi - query_y[:, 0]
            slope = 2 * query_x.T @ wrong / len(query_x)
            total += setting.proximity * torch.linalg.solve(a, slope) / tasks.n_tasks
            loss += wrong.square().mean() / tasks.n_tasks
        layer.weight.grad, layer.bias.grad = total[None, :-1], total[-1:]
        return loss

    return meta_gradient


def implicit_objective(model: nn.Module, tasks: Tasks, setting: ImplicitSetting) -> Objective:
    """The query loss at the regularised solution of each task, as a function of a shift of θ."""
    theta = {name: p.detach() for name, p in model.named_parameters()}

    def loss_at(phi: Parameters, examples: tuple[Tensor, Tensor]) -> Tensor:
        x, y = examples
        return setting.loss_fn(functional_call(model, phi, (x,)), y)

    def objective(shift: Parameters) -> Tensor:
        start = {name: t + shift[name] for name, t in theta.items()}
        losses = []
        for support, query in each(tasks):
            phi = {name: t.clone().requires_grad_() for name, t in start.items()}
            optimizer = torch.optim.SGD(list(phi.values()), lr=setting.inner_lr)
            for _ in range(setting.n_inner_steps):
                optimizer.zero_grad()
                away = [(p - start[name]).square().sum() for name, p in phi.items()]
                pull = setting.proximity / 2 * torch.stack(away).sum()
                (loss_at(phi, support) + pull).backward()
                optimizer.step()
            losses.append(loss_at(phi, query).detach())
        return torch.stack(losses).mean()

    return objective
