"""Meta-SGD's step is learn2learn's and higher's, of the weights and of the rates."""

import pytest
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import booleans, integers

from mlcode.peers import meta_sgd
from mlcode.peers.cross_check import cross_check
from mlcode.peers.images import image_problem
from mlcode.peers.meta_sgd import MetaSGDSetting, WithRates
from mlcode.peers.meta_step import difference, meta_step
from tests.helpers import SEEDS, random_tasks, same, seeded, smooth_net, snapshot

BY = {"learn2learn": meta_sgd.by_learn2learn, "higher": meta_sgd.by_higher}


@pytest.mark.parametrize("by", BY)
@given(seed=SEEDS, n_inner_steps=integers(1, 4), first_order=booleans(), classes=booleans())
def test_the_step_is_the_peers_step(by, seed, n_inner_steps, first_order, classes):
    tasks = random_tasks(2, 4, 3, (2,), (3,), seed=seed, classes=3 if classes else None)
    loss_fn = F.cross_entropy if classes else F.mse_loss
    setting = MetaSGDSetting(n_inner_steps, first_order, loss_fn=loss_fn)
    # Some rates are negative.
    model = WithRates(smooth_net(2, 3, seed=seed), 0.1, 2.0, generator=seeded(seed))
    ours = meta_step(meta_sgd.by_mlcode, model, tasks, setting)
    assert max(difference(ours, meta_step(BY[by], model, tasks, setting))) < 1e-10


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("downsampling", ["stride", "pool"])
def test_so_it_is_on_images(by, downsampling):
    network, tasks = image_problem(0, downsampling)
    model = WithRates(network, 0.4, generator=seeded(0))
    setting = MetaSGDSetting(2, loss_fn=F.cross_entropy)
    ours = meta_step(meta_sgd.by_mlcode, model, tasks, setting)
    apart = difference(ours, meta_step(BY[by], model, tasks, setting))
    assert max(apart.loss, apart.gradient) < 1e-10  # parameters: see ImageSetting


@pytest.mark.parametrize("first_order", [False, True])
def test_the_gradient_is_the_slope_along_weights_and_rates(first_order):
    model = WithRates(smooth_net(2), 0.1, generator=seeded(0))
    tasks = random_tasks(3, 4, 5, (2,), (1,))
    report = cross_check(
        "meta-sgd", model=model, tasks=tasks, first_order=first_order, n_inner_steps=3
    )
    assert report.finite_differences < 1e-7
    report.check()


def test_rates_of_another_parameter_would_be_noticed():
    model = WithRates(smooth_net(2, seed=1), 0.1, generator=seeded(0))
    tasks = random_tasks(3, 4, 5, (2,), (1,))
    ours = meta_step(meta_sgd.by_mlcode, model, tasks, MetaSGDSetting())
    model.rates[1], model.rates[0][:, 0].data[:] = model.rates[1], model.rates[1].detach()
    theirs = meta_step(meta_sgd.by_learn2learn, model, tasks, MetaSGDSetting())
    assert difference(ours, theirs).gradient > 1e-4


@pytest.mark.parametrize("by", ["mlcode", *BY])
def test_the_given_model_stays_as_it_was(by):
    model, tasks = WithRates(smooth_net(2)), random_tasks(2, 3, 3, (2,), (1,))
    before = snapshot(model)
    meta_step({"mlcode": meta_sgd.by_mlcode, **BY}[by], model, tasks, MetaSGDSetting(2))
    assert same(snapshot(model), before)
