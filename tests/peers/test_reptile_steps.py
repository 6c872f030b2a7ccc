"""Reptile's step is learn2learn's, higher's, and the one that its authors describe."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import booleans, integers

from mlcode.peers import reptile
from mlcode.peers.images import image_problem
from mlcode.peers.meta_step import difference, meta_step
from mlcode.peers.reptile import ReptileAdamSetting, ReptileSetting
from tests.helpers import SEEDS, network, random_tasks, same, smooth_net, snapshot

BY = {
    "learn2learn": reptile.by_learn2learn,
    "higher": reptile.by_higher,
    "by hand": reptile.by_hand,
}


@pytest.mark.parametrize("by", BY)
@given(seed=SEEDS, n_inner_steps=integers(1, 6), n_tasks=integers(1, 4), classes=booleans())
def test_the_step_is_the_peers_step(by, seed, n_inner_steps, n_tasks, classes):
    tasks = random_tasks(n_tasks, 4, 3, (2,), (3,), seed=seed, classes=3 if classes else None)
    setting = ReptileSetting(
        n_inner_steps, inner_lr=0.1, loss_fn=F.cross_entropy if classes else F.mse_loss
    )
    model = smooth_net(2, 3, seed=seed)
    ours = meta_step(reptile.by_mlcode, model, tasks, setting)
    assert max(difference(ours, meta_step(BY[by], model, tasks, setting))) < 1e-10


@pytest.mark.parametrize("by", ["higher", "by hand"])
@given(seed=SEEDS, n_inner_steps=integers(1, 6))
def test_so_it_is_with_adam_within(by, seed, n_inner_steps):
    """With eps = 1e-6: g/(|g| + eps) magnifies the rounding of gradients below it."""
    tasks = random_tasks(3, 4, 3, (2,), (1,), seed=seed)
    setting = ReptileAdamSetting(n_inner_steps, inner_lr=0.01, eps=1e-6)
    model = smooth_net(2, seed=seed)
    ours = meta_step(reptile.by_mlcode, model, tasks, setting)
    assert max(difference(ours, meta_step(BY[by], model, tasks, setting))) < 1e-10


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("downsampling", ["stride", "pool"])
def test_so_it_is_on_images(by, downsampling):
    model, tasks = image_problem(0, downsampling)
    setting = ReptileSetting(3, inner_lr=0.1, loss_fn=F.cross_entropy)
    ours = meta_step(reptile.by_mlcode, model, tasks, setting)
    apart = difference(ours, meta_step(BY[by], model, tasks, setting))
    assert max(apart.loss, apart.gradient) < 1e-10  # parameters: see ImageSetting


@pytest.mark.parametrize("by", BY)
def test_one_step_of_descent_is_the_gradient_of_all_examples(by):
    """θ − θ′ = α∇L(θ): with one step Reptile is joint training."""
    model, tasks = smooth_net(2), random_tasks(3, 4, 5, (2,), (1,))
    step = meta_step(BY[by], model, tasks, ReptileSetting(1, inner_lr=0.1))
    x, y = (torch.cat(parts, 1).flatten(0, 1) for parts in zip(*tasks))
    F.mse_loss(model(x), y).backward()
    for name, p in model.named_parameters():
        assert torch.allclose(step.gradient[name], 0.1 * p.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("by", ["mlcode", *BY])
def test_the_given_model_stays_as_it_was(by):
    model, tasks = network(torch.nn.Linear(2, 1)), random_tasks(2, 3, 3, (2,), (1,))
    before = snapshot(model)
    meta_step({"mlcode": reptile.by_mlcode, **BY}[by], model, tasks, ReptileSetting())
    assert same(snapshot(model), before)
