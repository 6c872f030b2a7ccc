from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlcode import LearnedOptimizer
from mlcode.optimization.rules import Adam, GradientDescent, Momentum
from mlcode.optimization.tuned_baselines import BASELINES, tune
from mlcode.sources.problems import Quadratics
from tests.helpers import distance, seeded

TORCH = {
    "gradient descent": lambda p, rule: torch.optim.SGD(p, rule.lr),
    "momentum": lambda p, rule: torch.optim.SGD(p, rule.lr, momentum=rule.momentum),
    "Adam": lambda p, rule: torch.optim.Adam(p, rule.lr, betas=rule.betas),
}


@pytest.fixture(scope="module")
def problems():
    source = Quadratics(3, dtype=torch.float64)
    learner = LearnedOptimizer(nn.Linear(3, 1, bias=False).double(), GradientDescent(0.1))
    tasks = source.sample(8, generator=seeded(0))
    return learner, tasks, learner.starts(8, generator=seeded(1))


@pytest.mark.parametrize("criterion", ["final", "mean"])
def test_the_loss_of_the_best_is_what_torchs_optimizer_reaches_from_the_same_starts(
    problems, criterion
):
    learner, tasks, starts = problems
    tuned = tune(learner, tasks, n_steps=12, starts=starts, criterion=criterion)
    assert tuned.keys() == BASELINES.keys() == TORCH.keys()
    for name, best in tuned.items():
        losses = []
        for i, start in enumerate(starts):
            theta = start[None].clone().requires_grad_()
            optimizer = TORCH[name]([theta], best.rule)
            w, y = tasks.select(i).support
            for _ in range(12):
                optimizer.zero_grad()
                F.mse_loss(w @ theta.T, y).backward()
                optimizer.step()
                losses.append(F.mse_loss(w @ theta.detach().T, y))
        path = torch.stack(losses).view(8, 12)
        expected = path[:, -1].mean() if criterion == "final" else path.mean()
        assert distance(torch.tensor(best.loss).double(), expected) < 1e-7


def test_the_best_is_no_worse_than_any_other_of_its_kind(problems):
    learner, tasks, starts = problems
    best = tune(learner, tasks, n_steps=12, starts=starts)["momentum"]
    for lr in (0.03, 0.1, 0.3):
        for momentum in (0.5, 0.9):
            rule = Momentum(lr, momentum)
            path = learner.with_rule(rule).trajectories(tasks, 12, starts)
            # Not of the grid, so a little better may be possible.
            assert best.loss < 1.2 * float(path[:, -1].mean())


def test_a_rate_that_diverges_loses_and_an_edge_is_reported(problems):
    learner, tasks, starts = problems
    only = {"gradient descent": (GradientDescent,)}
    run = partial(tune, learner, tasks, n_steps=300, starts=starts, baselines=only)
    within = run(rates=(0.001, 0.02, 1e6))["gradient descent"]
    assert (within.lr, within.at_edge) == (0.02, False)
    small = run(rates=(0.0001, 0.001))["gradient descent"]
    assert (small.lr, small.at_edge) == (0.001, True)


def test_settings_that_allow_no_sweep_are_refused(problems):
    learner, tasks, _ = problems
    only = {"gradient descent": (GradientDescent,), "Adam": (Adam,)}
    run = partial(tune, learner, tasks, baselines=only)
    with pytest.raises(ValueError, match=r"gradient descent diverges at every rate from 1e\+30 on"):
        run(n_steps=300, rates=(1e30, 1e31))
    with pytest.raises(ValueError, match="at least two rates"):
        run(n_steps=3, rates=(0.1,))
    with pytest.raises(ValueError, match="a rate must be positive"):
        run(n_steps=3, rates=(0.1, -0.1))
    with pytest.raises(ValueError, match=r"criterion must be one of .* Did you mean 'final'"):
        run(n_steps=3, criterion="finals")
    with pytest.raises(ValueError, match="n_steps must be at least 1"):
        run(n_steps=0)
