import gc

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import booleans, integers, sampled_from
from torch import nn

from mlcode import MAML, ConvNet, Examples
from mlcode.optimization.inner_loop import unroll
from mlcode.optimization.rules import Adam, GradientDescent, Momentum
from tests.helpers import SEEDS, distance, gradients, random_tasks, smooth_net

RULES = {
    "gradient descent": lambda: GradientDescent(0.1),
    "momentum": lambda: Momentum(0.05, 0.9),
    "Adam": lambda: Adam(0.02),
    "Reptile's Adam": lambda: Adam(0.02, betas=(0.0, 0.999)),
}
TORCH = {
    "gradient descent": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, 0.02),
    "Reptile's Adam": lambda p: torch.optim.Adam(p, 0.02, betas=(0.0, 0.999)),
}


@pytest.mark.parametrize("name", RULES)
@given(seed=SEEDS, n_steps=integers(1, 8))
def test_each_rule_takes_torchs_steps(name, seed, n_steps):
    tasks = random_tasks(1, 6, 4, (2,), (1,), seed=seed)
    learner = MAML(smooth_net(2, seed=seed), rule=RULES[name](), n_inner_steps=n_steps)
    ours = learner.adapt(tasks.select(0).support)
    theirs = smooth_net(2, seed=seed)
    optimizer = TORCH[name](theirs.parameters())
    for _ in range(n_steps):
        optimizer.zero_grad()
        F.mse_loss(theirs(tasks.support.x[0]), tasks.support.y[0]).backward()
        optimizer.step()
    assert distance(ours, dict(theirs.named_parameters())) < 1e-12


@pytest.mark.parametrize("name", RULES)
def test_the_outer_gradient_passes_through_each_rule(name):
    """A number squeezed through three steps; the derivative against central differences."""
    rule = RULES[name]()

    def end(start):
        theta, _ = unroll(lambda at: (at["w"] ** 4).sum(), {"w": start}, rule, 3)
        return theta["w"]

    assert torch.autograd.gradcheck(end, (torch.tensor([0.7, -1.2]).double().requires_grad_(),))


def test_adam_has_a_finite_gradient_where_the_loss_is_flat():
    start = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    theta, _ = unroll(lambda at: (at["w"] ** 2).sum() * 0, {"w": start}, Adam(0.1), 2)
    theta["w"].sum().backward()
    assert torch.equal(start.grad, torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("name", RULES)
@given(seed=SEEDS, n_steps=integers(1, 9), every=integers(1, 4), first_order=booleans())
def test_checkpoints_change_no_gradient(name, seed, n_steps, every, first_order):
    tasks = random_tasks(2, 4, 5, (2,), (1,), seed=seed)

    def gradient(checkpoint_every):
        learner = MAML(
            smooth_net(2, seed=seed),
            rule=RULES[name](),
            n_inner_steps=n_steps,
            first_order=first_order,
            checkpoint_every=checkpoint_every,
        )
        return gradients(learner, tasks)

    assert distance(gradient(every), gradient(None)) < 1e-12


@given(seed=SEEDS, adapted=sampled_from(["head.*", "body.*"]))
def test_checkpoints_keep_the_gradient_of_what_is_not_adapted(seed, adapted):
    tasks = random_tasks(2, 3, 4, (1, 8, 8), (), seed=seed, classes=3)

    def gradient(checkpoint_every):
        torch.manual_seed(seed % 1000)
        model = ConvNet(3, n_filters=3, image_size=8, n_blocks=2).double()
        learner = MAML(
            model,
            inner_lr=0.3,
            n_inner_steps=4,
            loss_fn=F.cross_entropy,
            adapted=adapted,
            checkpoint_every=checkpoint_every,
        )
        return gradients(learner, tasks)

    assert distance(gradient(2), gradient(None)) < 1e-11


def test_checkpoints_keep_fewer_tensors_alive():
    """Tensors alive after the forward pass, the graph's included: fewer with √64 = 8 a segment."""
    support = random_tasks(1, 20, 4, (2,), (1,)).select(0).support

    def alive(checkpoint_every):
        learner = MAML(smooth_net(2), n_inner_steps=64, checkpoint_every=checkpoint_every)
        gc.collect()
        theta = learner.adapt(support)
        nodes, seen = [t.grad_fn for t in theta.values()], set()
        while nodes:
            node = nodes.pop()
            if node is not None and node not in seen:
                seen.add(node)
                nodes += [following for following, _ in node.next_functions]
        return len(seen)

    assert alive(8) * 20 < alive(None)


def test_the_rules_state_goes_on_where_it_stopped():
    rule, start = Adam(0.1), {"w": torch.tensor([1.0, 2.0]).double()}

    def loss(at):
        return (at["w"] ** 2).sum()

    once, _ = unroll(loss, start, rule, 5)
    half, state = unroll(loss, start, rule, 2)
    twice, _ = unroll(loss, half, rule, 3, state=state)
    assert torch.equal(once["w"], twice["w"])


def test_checkpoints_and_vmap_exclude_each_other():
    with pytest.raises(ValueError, match="does not work under vmap; use mapping='loop'"):
        MAML(nn.Linear(1, 1), checkpoint_every=2, mapping="vmap")
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1"):
        MAML(nn.Linear(1, 1), checkpoint_every=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientDescent(0.0), "lr must be positive"),
        (lambda: Momentum(0.1, 1.0), "momentum must be at least 0 and below 1; got 1.0"),
        (lambda: Adam(0.1, betas=(0.9, -0.1)), "a beta must be at least 0 and below 1"),
        (lambda: Adam(0.1, eps=0.0), "eps must be positive"),
    ],
)
def test_settings_that_are_no_rates_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_support_set_is_still_refused():
    empty = Examples(torch.zeros(0, 1), torch.zeros(0, 1))
    with pytest.raises(ValueError, match="nothing to adapt to"):
        MAML(nn.Linear(1, 1), rule=Adam(0.1)).predict(empty, torch.zeros(1, 1))
