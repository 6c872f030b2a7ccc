"""Momentum, Adam and checkpoints in the inner loop: each step is the step of other libraries."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis.strategies import booleans, composite, integers, sampled_from
from torch import nn

from mlcode.peers import maml, rules
from mlcode.peers.cross_check import cross_check
from mlcode.peers.meta_step import difference, meta_step
from mlcode.peers.problems import smooth_problem
from mlcode.peers.rules import AdamSetting, CheckpointSetting, MomentumSetting
from tests.helpers import SEEDS, network, random_tasks, smooth_net

PEERS = {"higher": maml.by_higher, "torchopt": maml.by_torchopt}
SETTINGS = {"momentum": MomentumSetting, "adam": AdamSetting}


@composite
def problems(draw):
    """A smooth network of 1 or 2 hidden layers, tasks to fit it, and a loss."""
    n_in, n_out, width = draw(integers(1, 4)), draw(integers(2, 4)), draw(integers(1, 8))
    seed, activation = draw(SEEDS), draw(sampled_from([nn.Tanh, nn.Softplus, nn.Sigmoid]))
    middle = [nn.Linear(width, width), activation()] if draw(booleans()) else []
    layers = [nn.Linear(n_in, width), activation(), *middle, nn.Linear(width, n_out)]
    classes = n_out if draw(booleans()) else None
    counts = draw(integers(1, 3)), draw(integers(1, 6)), draw(integers(1, 6))
    tasks = random_tasks(*counts, (n_in,), (n_out,), seed=seed, classes=classes)
    loss_fn = F.mse_loss if classes is None else F.cross_entropy
    return network(*layers, seed=seed), tasks, loss_fn


@pytest.mark.parametrize("rule", SETTINGS)
@pytest.mark.parametrize("peer", PEERS)
@given(problem=problems(), n_inner_steps=integers(1, 5), first_order=booleans())
def test_the_step_is_the_peers_step(rule, peer, problem, n_inner_steps, first_order):
    model, tasks, loss_fn = problem
    setting = SETTINGS[rule](n_inner_steps, first_order, inner_lr=0.05, loss_fn=loss_fn)
    ours = meta_step(maml.by_mlcode, model, tasks, setting)
    theirs = meta_step(PEERS[peer], model, tasks, setting)
    assert max(difference(ours, theirs)) < 1e-10


@pytest.mark.parametrize("peer", PEERS)
@given(momentum=sampled_from([0.0, 0.5, 0.99]), b1=sampled_from([0.0, 0.5, 0.99]), seed=SEEDS)
def test_so_it_is_with_other_decays(peer, momentum, b1, seed):
    tasks = random_tasks(2, 5, 4, (2,), (1,), seed=seed)
    for setting in (
        MomentumSetting(3, inner_lr=0.05, momentum=momentum),
        AdamSetting(3, inner_lr=0.05, betas=(b1, 0.9), eps=0.1),
    ):
        model = smooth_net(2, seed=seed)
        ours = meta_step(maml.by_mlcode, model, tasks, setting)
        assert max(difference(ours, meta_step(PEERS[peer], model, tasks, setting))) < 1e-10


def test_highers_eps_and_torchopts_dtype_are_not_todays():
    """What the comparison sets right; the day that a library does so itself, this fails."""
    model, tasks = smooth_problem(0)

    class Plain(AdamSetting):
        def override(self, step):
            return None

    ours = meta_step(maml.by_mlcode, model, tasks, AdamSetting())
    assert difference(ours, meta_step(maml.by_higher, model, tasks, Plain())).gradient > 1e-3

    with torch.random.fork_rng(devices=[]):
        inner = maml._second_order(model, AdamSetting())  # without `default_dtype`
        model.zero_grad()
        inner(tasks)
    found = {name: p.grad for name, p in model.named_parameters()}
    apart = max(float((found[n] - g).abs().max()) for n, g in ours.gradient.items())
    scale = max(float(g.abs().max()) for g in ours.gradient.values())
    assert 1e-10 < apart / scale < 1e-4


@settings(max_examples=10)
@given(problem=problems(), n_inner_steps=integers(1, 9), every=integers(1, 4), first=booleans())
def test_a_checkpointed_step_is_learn2learns_step(problem, n_inner_steps, every, first):
    model, tasks, loss_fn = problem
    setting = CheckpointSetting(n_inner_steps, first, 0.05, 1e-3, loss_fn, every)
    ours = meta_step(rules.by_mlcode_checkpointed, model, tasks, setting)
    for by in (maml.by_mlcode, maml.by_learn2learn):
        assert max(difference(ours, meta_step(by, model, tasks, setting))) < 1e-10


@pytest.mark.parametrize("algorithm", ["maml-momentum", "maml-adam"])
@pytest.mark.parametrize("first_order", [False, True])
def test_torchs_own_optimizer_has_these_slopes(algorithm, first_order):
    """The witness is torch.optim itself, in place, differentiated by nobody."""
    report = cross_check(algorithm, first_order=first_order, n_inner_steps=3)
    assert report.finite_differences < 1e-6


def test_torchs_default_dtype_is_put_back():
    model, tasks = smooth_problem(0)
    meta_step(maml.by_torchopt, model, tasks, AdamSetting())
    assert torch.get_default_dtype() == torch.float32
