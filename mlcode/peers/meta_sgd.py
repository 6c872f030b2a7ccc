"""Meta-SGD's meta-gradient in mlcode, learn2learn and higher: of the weights and of their rates."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from mlcode import peers
from mlcode.optimization.meta_sgd import MetaSGD
from mlcode.peers.finite_differences import Objective
from mlcode.peers.maml import MAMLSetting, each
from mlcode.peers.meta_step import MetaGradient, Parameters
from mlcode.peers.networks import own_network
from mlcode.peers.problems import Problem, sinusoid_problem
from mlcode.tasks import Tasks


@dataclass(frozen=True)
class MetaSGDSetting(MAMLSetting):
    """The settings of a Meta-SGD step. The rates come with the model; `inner_lr` has no effect."""


class WithRates(nn.Module):
    """A network and a rate for each entry of its parameters: all that Meta-SGD learns.

    Args:
        network: Whose weights take inner steps.
        lr: The mean of the rates.
        spread: Rates are drawn from lr (1 − spread) to lr (1 + spread), so that one that is used
            for another's parameter shows.
        generator: Draws them.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float = 0.01,
        spread: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.rates = nn.ParameterList()
        for p in network.parameters():
            noise = 2 * torch.rand(p.shape, generator=generator, dtype=torch.float64) - 1
            self.rates.append(nn.Parameter((lr * (1 + spread * noise)).to(p)))


def by_mlcode(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """MAML whose rule has learned rates: here, the rates of `model`."""
    assert isinstance(model, WithRates)
    learner = MetaSGD(
        own_network(model.network),
        n_inner_steps=setting.n_inner_steps,
        loss_fn=setting.loss_fn,
        first_order=setting.first_order,
    )
    learner.rule.rates = model.rates

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        loss.backward()
        return loss.detach()

    return meta_gradient


def by_learn2learn(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """learn2learn's own `MetaSGD`, given the rates of `model`."""
    assert isinstance(model, WithRates)
    learner = peers.learn2learn.algorithms.MetaSGD(
        model.network, lrs=model.rates, first_order=setting.first_order
    )

    def meta_gradient(tasks: Tasks) -> Tensor:
        losses = []
        for (x, y), (query_x, query_y) in each(tasks):
            clone = learner.clone()
            for _ in range(setting.n_inner_steps):
                clone.adapt(setting.loss_fn(clone(x), y))
            losses.append(setting.loss_fn(clone(query_x), query_y))
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.detach()

    def quietly(tasks: Tasks) -> Tensor:
        with warnings.catch_warnings():  # it looks at `.grad` of tensors that are no leaves
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
            return meta_gradient(tasks)

    return quietly


def by_higher(model: nn.Module, setting: MAMLSetting) -> MetaGradient:
    """A group of the inner optimizer for each parameter, whose rate is overridden by a tensor."""
    assert isinstance(model, WithRates)
    network, rates = model.network, list(model.rates)
    optimizer = torch.optim.SGD([{"params": [p]} for p in network.parameters()], lr=1.0)
    constant = (lambda gradients: [g.detach() for g in gradients]) if setting.first_order else None

    def meta_gradient(tasks: Tasks) -> Tensor:
        total = rates[0].new_zeros(())
        for (x, y), (query_x, query_y) in each(tasks):
            with peers.higher.innerloop_ctx(
                network, optimizer, copy_initial_weights=False, override={"lr": rates}
            ) as (fast, inner):
                for _ in range(setting.n_inner_steps):
                    inner.step(setting.loss_fn(fast(x), y), grad_callback=constant)
                loss = setting.loss_fn(fast(query_x), query_y) / tasks.n_tasks
                loss.backward()
            total = total + loss.detach()
        return total

    return meta_gradient


def meta_sgd_objective(model: nn.Module, tasks: Tasks, setting: MAMLSetting) -> Objective:
    """The function of a shift of weights and rates whose gradient is the meta-gradient.

    Second order: everything from the shifted ones. First order: the inner gradients are those of no
    shift, so that weights shift as they are and rates by the sum of the gradients.
    """
    assert isinstance(model, WithRates)
    names = [name for name, _ in model.network.named_parameters()]
    values = {name: p.detach() for name, p in model.named_parameters()}

    def loss_at(theta: Parameters, examples: tuple[Tensor, Tensor]) -> Tensor:
        x, y = examples
        return setting.loss_fn(functional_call(model.network, theta, (x,)), y)

    def descend(at: Parameters, support: tuple[Tensor, Tensor]) -> tuple[Parameters, Parameters]:
        """The weights after the inner steps, and the sum of the gradients on the way."""
        theta = {n: at[f"network.{n}"] for n in names}
        total = {n: torch.zeros_like(t) for n, t in theta.items()}
        for _ in range(setting.n_inner_steps):
            gradient = grad(loss_at)(theta, support)
            theta = {n: theta[n] - at[f"rates.{i}"] * gradient[n] for i, n in enumerate(names)}
            total = {n: total[n] + gradient[n] for n in names}
        return theta, total

    def objective(shift: Parameters) -> Tensor:
        losses = []
        for support, query in each(tasks):
            if setting.first_order:
                theta, total = descend(values, support)
                theta = {
                    n: theta[n] + shift[f"network.{n}"] - shift[f"rates.{i}"] * total[n]
                    for i, n in enumerate(names)
                }
            else:
                theta, _ = descend({n: v + shift[n] for n, v in values.items()}, support)
            losses.append(loss_at(theta, query))
        return torch.stack(losses).mean()

    return objective


def meta_sgd_problem(seed: int) -> Problem:
    """The MAML paper's network with rates about 0.01, and 25 sinusoids of 10 shots."""
    network, tasks = sinusoid_problem(seed)
    return WithRates(network, generator=torch.Generator().manual_seed(seed)), tasks
