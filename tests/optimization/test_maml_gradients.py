"""MAML's meta-gradient against every other way to know it. All in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import booleans, floats, integers
from torch import nn
from torch.func import functional_call

from mlcode import MAML, LinearFunctions
from tests.helpers import (
    SEEDS,
    conv_net,
    distance,
    gradients,
    network,
    random_tasks,
    seeded,
    smooth_net,
)

steps = integers(0, 4)


def by_autograd(model, tasks, *, alpha, n_steps, first_order, loss_fn):
    """Meta-loss and meta-gradient from scratch: plain loops, `create_graph`, no torch.func.grad."""
    theta = dict(model.named_parameters())
    losses = []
    for support, query in (tasks.select(i) for i in range(tasks.n_tasks)):
        fast = theta
        for _ in range(n_steps):
            loss = loss_fn(functional_call(model, fast, (support.x,)), support.y)
            slopes = torch.autograd.grad(loss, list(fast.values()), create_graph=not first_order)
            fast = {name: p - alpha * g for (name, p), g in zip(fast.items(), slopes)}
        losses.append(loss_fn(functional_call(model, fast, (query.x,)), query.y))
    mean = torch.stack(losses).mean()
    return mean, dict(zip(theta, torch.autograd.grad(mean, list(theta.values()))))


@given(seed=SEEDS, n_steps=steps, first_order=booleans(), alpha=floats(0.001, 0.2))
def test_loss_and_meta_gradient_are_those_of_plain_autograd(seed, n_steps, first_order, alpha):
    model, tasks = smooth_net(2, 3, seed=seed), random_tasks(3, 4, 5, (2,), (3,), seed=seed)
    learner = MAML(model, inner_lr=alpha, n_inner_steps=n_steps, first_order=first_order)
    loss, expected = by_autograd(
        model, tasks, alpha=alpha, n_steps=n_steps, first_order=first_order, loss_fn=F.mse_loss
    )
    found = gradients(learner, tasks)
    assert distance(learner(tasks), loss) < 1e-12
    assert distance({name[len("model.") :]: g for name, g in found.items()}, expected) < 1e-12


@pytest.mark.parametrize("first_order", [False, True])
def test_convolutions_and_cross_entropy_have_plain_autograds_gradient_too(first_order):
    model, tasks = conv_net(stride=2), random_tasks(3, 6, 6, (1, 6, 6), (), classes=3)
    learner = MAML(
        model, inner_lr=0.3, n_inner_steps=3, first_order=first_order, loss_fn=F.cross_entropy
    )
    loss, expected = by_autograd(
        model, tasks, alpha=0.3, n_steps=3, first_order=first_order, loss_fn=F.cross_entropy
    )
    found = gradients(learner, tasks)
    assert distance(learner(tasks), loss) < 1e-12
    assert distance({name[len("model.") :]: g for name, g in found.items()}, expected) < 1e-12


@given(seed=SEEDS, n_steps=steps)
def test_the_meta_gradient_is_the_slope_that_finite_differences_find(seed, n_steps):
    model, tasks = smooth_net(seed=seed), random_tasks(3, 4, 5, (1,), (1,), seed=seed)
    learner = MAML(model, inner_lr=0.05, n_inner_steps=n_steps)
    found = gradients(learner, tasks)
    draw, theta = seeded(seed), {name: p.detach().clone() for name, p in learner.named_parameters()}
    way = {name: torch.randn(p.shape, generator=draw, dtype=p.dtype) for name, p in theta.items()}

    def loss_at(h):
        with torch.no_grad():
            return functional_call(
                learner, {name: theta[name] + h * way[name] for name in theta}, (tasks,)
            )

    def central(h):
        return (loss_at(h) - loss_at(-h)) / (2 * h)

    slope = (4 * central(5e-4) - central(1e-3)) / 3  # Richardson: the error falls as h⁴
    along = sum((found[name] * way[name]).sum() for name in way)
    assert float(along) == pytest.approx(float(slope), rel=1e-8, abs=1e-8)


def linear_model(n_features, seed=0):
    return network(nn.Linear(n_features, 1, bias=False), seed=seed)


def quadratic(x, y, w):
    """Gradient and Hessian of the mean squared error of xᵀw."""
    return 2 / len(x) * x.T @ (x @ w - y), 2 / len(x) * x.T @ x


@given(seed=SEEDS, d=integers(1, 4), n_steps=steps, alpha=floats(0.01, 0.3), second=booleans())
def test_the_meta_gradient_of_a_linear_model_is_its_closed_form(seed, d, n_steps, alpha, second):
    source = LinearFunctions(d, n_shot=5, n_query=4, noise=0.5, dtype=torch.float64)
    tasks, model = source.sample(3, generator=seeded(seed)), linear_model(d, seed)
    learner = MAML(model, inner_lr=alpha, n_inner_steps=n_steps, first_order=not second)
    w = model[0].weight.detach().T
    expected = []
    for support, query in (tasks.select(i) for i in range(3)):
        hessian = quadratic(*support, w)[1]
        adapted = w
        for _ in range(n_steps):
            adapted = adapted - alpha * quadratic(*support, adapted)[0]
        shrink = torch.eye(d, dtype=w.dtype) - alpha * hessian  # I − αH
        outer = quadratic(*query, adapted)[0]
        expected.append(torch.matrix_power(shrink, n_steps) @ outer if second else outer)
    found = gradients(learner, tasks)["model.0.weight"]
    assert distance(found, torch.stack(expected).mean(0).T) < 1e-12


@given(seed=SEEDS, d=integers(1, 4), alpha=floats(0.01, 0.3))
def test_what_first_order_drops_after_one_step_is_alpha_times_hessian_times_gradient(
    seed, d, alpha
):
    source = LinearFunctions(d, n_shot=5, n_query=4, dtype=torch.float64)
    tasks, model = source.sample(1, generator=seeded(seed)), linear_model(d, seed)
    exact, first = (
        gradients(MAML(model, inner_lr=alpha, first_order=cut), tasks)["model.0.weight"].T
        for cut in (False, True)
    )
    support, query = tasks.select(0)
    w = model[0].weight.detach().T
    slope, hessian = quadratic(*support, w)
    dropped = -alpha * hessian @ quadratic(*query, w - alpha * slope)[0]
    assert distance(exact - first, dropped) < 1e-12


@given(seed=SEEDS, n_steps=steps)
def test_first_order_is_the_query_gradient_at_the_adapted_weights(seed, n_steps):
    model, tasks = smooth_net(seed=seed), random_tasks(1, 4, 5, (1,), (1,), seed=seed)
    learner = MAML(model, n_inner_steps=n_steps, first_order=True)
    support, query = tasks.select(0)
    cut = {name: p.detach().requires_grad_() for name, p in learner.adapt(support).items()}
    loss = F.mse_loss(functional_call(model, cut, (query.x,)), query.y)
    expected = dict(zip(cut, torch.autograd.grad(loss, list(cut.values()))))
    found = gradients(learner, tasks)
    assert distance({name[len("model.") :]: g for name, g in found.items()}, expected) < 1e-12


def test_first_and_second_order_have_the_same_loss_and_another_gradient():
    tasks, model = random_tasks(3, 4, 5, (1,), (1,)), smooth_net()
    exact, first = (MAML(model, n_inner_steps=3, first_order=cut) for cut in (False, True))
    assert distance(exact(tasks), first(tasks)) < 1e-15
    assert distance(gradients(exact, tasks), gradients(first, tasks)) > 1e-3
