"""The implicit gradient is TorchOpt's, and the exact one where that is known."""

import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis.strategies import booleans, floats, integers
from torch import nn

from mlcode.peers import implicit
from mlcode.peers.cross_check import cross_check
from mlcode.peers.implicit import ImplicitSetting
from mlcode.peers.meta_step import difference, meta_step
from mlcode.peers.problems import linear_problem, noise_problem
from tests.helpers import SEEDS, network, random_tasks, same, smooth_net, snapshot


@settings(max_examples=8)
@given(seed=SEEDS, n_shot=integers(3, 9), classes=booleans(), proximity=floats(4.0, 8.0))
def test_the_step_is_torchopts_step(seed, n_shot, classes, proximity):
    tasks = random_tasks(2, n_shot, 4, (2,), (2,), seed=seed, classes=2 if classes else None)
    setting = ImplicitSetting(
        proximity=proximity,
        inner_lr=0.06,
        n_inner_steps=250,
        loss_fn=F.cross_entropy if classes else F.mse_loss,
    )
    model = smooth_net(2, 2, seed=seed)
    ours = meta_step(implicit.by_mlcode, model, tasks, setting)
    assert max(difference(ours, meta_step(implicit.by_torchopt, model, tasks, setting))) < 1e-10


@settings(max_examples=10)
@given(seed=SEEDS, n_in=integers(1, 5), proximity=floats(1.0, 5.0))
def test_on_a_linear_model_it_is_the_exact_solution(seed, n_in, proximity):
    tasks = random_tasks(3, 20, 8, (n_in,), (1,), seed=seed)
    model = network(nn.Linear(n_in, 1), seed=seed)
    setting = ImplicitSetting(proximity=proximity, inner_lr=0.1, n_inner_steps=300)
    ours = meta_step(implicit.by_mlcode, model, tasks, setting)
    assert max(difference(ours, meta_step(implicit.exactly, model, tasks, setting))) < 1e-10


def test_its_slopes_are_those_of_the_query_loss_at_the_solution():
    model, tasks = noise_problem(1)
    report = cross_check("implicit", model=model, tasks=tasks.select(slice(0, 1)))
    assert report.finite_differences < 1e-7
    report.check()


def test_a_solution_that_is_not_reached_would_be_noticed():
    model, tasks = linear_problem(0)
    hasty = ImplicitSetting(n_inner_steps=10)
    ours = meta_step(implicit.by_mlcode, model, tasks, hasty)
    exact = meta_step(implicit.exactly, model, tasks, hasty)
    assert difference(ours, exact).gradient > 1e-6


def test_the_given_model_stays_as_it_was():
    model, tasks = linear_problem(0)
    before = snapshot(model)
    for by in (implicit.by_mlcode, implicit.by_torchopt, implicit.exactly):
        meta_step(by, model, tasks, ImplicitSetting(n_inner_steps=3))
    assert same(snapshot(model), before)
