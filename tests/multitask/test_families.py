"""Regressions and classifications of several sizes, trained on one trunk."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import nn

from mlcode import MAML, LinearFunctions, evaluate
from mlcode.multitask import (
    Families,
    FixedWeights,
    ProtoMAML,
    TaskBatches,
    TrunkAndHead,
    UncertaintyWeights,
    fill_gradients,
    shared_gradients,
    train_jointly,
)
from mlcode.peers import learn2learn
from tests.helpers import SEEDS, distance, gradients, network, random_tasks, seeded


def families(seed=0, weighting=None):
    trunk = network(nn.Linear(2, 6), nn.Tanh(), seed=seed)

    def maml(n_out, loss_fn):
        head = network(nn.Linear(6, n_out), seed=seed + n_out)
        return MAML(TrunkAndHead(trunk, head), inner_lr=0.1, loss_fn=loss_fn)

    learners = {
        "pairs": maml(2, F.mse_loss),
        "kinds": maml(3, F.cross_entropy),
        "any": ProtoMAML(trunk),
    }
    return Families(learners, weighting=weighting)


def batch(seed=0):
    """Different shots, different targets, different numbers of tasks."""
    any_way = random_tasks(2, 4, 4, (2,), (), seed=seed, classes=2)
    for part in any_way:
        part.y[:] = torch.tensor([0, 1, 0, 1])
    return {
        "pairs": random_tasks(3, 5, 4, (2,), (2,), seed=seed),
        "kinds": random_tasks(1, 7, 6, (2,), (), seed=seed, classes=3),
        "any": any_way,
    }


@given(seed=SEEDS)
def test_the_objective_is_the_mean_of_each_familys_own(seed):
    learner, tasks = families(seed), batch(seed)
    by_hand = torch.stack([learner[name](tasks[name]) for name in tasks]).mean()
    assert distance(learner(tasks), by_hand) < 1e-14


@given(seed=SEEDS)
def test_the_trunk_has_one_gradient_from_all_families(seed):
    learner, tasks = families(seed), batch(seed)
    parts = [gradients(learner[name], tasks[name]) for name in tasks]
    at = ("model.trunk.0.weight", "model.trunk.0.weight", "encoder.0.weight")
    expected = sum(part[name] for part, name in zip(parts, at)) / 3
    fill_gradients(learner, tasks)
    assert distance(learner["any"].encoder[0].weight.grad, expected) < 1e-14
    assert learner["pairs"].model.trunk[0].weight is learner["any"].encoder[0].weight


@given(seed=SEEDS)
def test_the_gradients_of_trunk_and_heads_are_learn2learns(seed):
    ours, theirs, tasks = families(seed), families(seed), batch(seed)
    tasks.pop("any")  # learn2learn has no ProtoMAML
    means = []
    for name, (supports, queries) in tasks.items():
        loss_fn = ours[name].loss_fn
        maml = learn2learn.algorithms.MAML(theirs[name].model, lr=0.1)
        losses = []
        for i in range(len(supports.x)):
            clone = maml.clone()
            clone.adapt(loss_fn(clone(supports.x[i]), supports.y[i]))
            losses.append(loss_fn(clone(queries.x[i]), queries.y[i]))
        means.append(torch.stack(losses).mean())
    torch.stack(means).mean().backward()
    fill_gradients(ours, tasks)
    expected = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    found = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    assert distance(found, expected) < 1e-12
    assert len(found) == 6


def test_only_the_trunk_is_shared_by_the_families():
    learner = families()
    names, rows = shared_gradients(learner, batch())
    assert names == ("pairs", "kinds", "any")
    assert rows.shape == (3, 2 * 6 + 6)


def test_a_family_may_be_missing_from_a_batch():
    learner, tasks = families(), batch()
    alone = learner({"kinds": tasks["kinds"]})
    assert distance(alone, learner["kinds"](tasks["kinds"])) < 1e-14


@pytest.mark.parametrize("surgery", [False, True])
def test_families_are_trained_by_the_loop_of_multi_task_learning(surgery):
    sources = {
        "slow": LinearFunctions(2, n_shot=5, dtype=torch.float64),
        "steep": LinearFunctions(2, n_shot=5, w_scale=3.0, dtype=torch.float64),
    }
    trunk = network(nn.Linear(2, 6), nn.Tanh())
    learner = Families(
        {
            name: MAML(TrunkAndHead(trunk, network(nn.Linear(6, 1))), inner_lr=0.05)
            for name in sources
        },
        weighting=UncertaintyWeights(dict.fromkeys(sources, "regression")),
    ).double()
    before = [evaluate(learner[name], source, 50).mean for name, source in sources.items()]
    history = train_jointly(
        learner,
        TaskBatches(sources, 4),
        n_iterations=60,
        optimizer=torch.optim.Adam(learner.parameters(), 0.02),
        surgery=surgery,
        generator=seeded(0),
    )
    after = [evaluate(learner[name], source, 50).mean for name, source in sources.items()]
    assert history.losses.shape == (60, 2)
    assert all(a < b for a, b in zip(after, before))
    weights = learner.weighting.weights()
    assert weights["slow"] > weights["steep"]


def test_the_weighting_weighs_families():
    tasks = batch()
    weights = FixedWeights({"pairs": 0.0, "kinds": 1.0, "any": 3.0})
    learner = families(weighting=weights)
    expected = (learner["kinds"](tasks["kinds"]) + 3 * learner["any"](tasks["any"])) / 4
    assert distance(learner(tasks), expected) < 1e-14


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: families()({"pairs": random_tasks(1, 7, 6, (2,), (), classes=2)}),
            ValueError,
            r"family 'pairs': the prediction has shape \(7, 2\) and its target \(7,\)",
        ),
        (
            lambda: families()({"kinds": random_tasks(1, 4, 4, (2,), (), classes=9)}),
            ValueError,
            r"family 'kinds': labels must lie in 0 … 2",
        ),
        (
            lambda: families()({"pairs": random_tasks(1, 0, 4, (2,), (2,))}),
            ValueError,
            "family 'pairs': the support set is empty",
        ),
        (
            lambda: families()({"pairs": random_tasks(1, 4, 0, (2,), (2,))}),
            ValueError,
            "the query set is empty",
        ),
        (lambda: families()({"pair": batch()["pairs"]}), ValueError, "Did you mean 'pairs'"),
        (lambda: families()({"pairs": batch()["pairs"].support}), TypeError, "names to Tasks"),
        (lambda: families()["pair"], ValueError, "Did you mean 'pairs'"),
        (lambda: Families({"a": nn.Linear(1, 1)}), TypeError, "must be a MetaLearner"),
        (lambda: TaskBatches({"a": 3}, 4), TypeError, "must have sample"),
        (lambda: TaskBatches({}, 4), ValueError, "at least one source"),
        (lambda: TaskBatches({"a": LinearFunctions()}, 0), ValueError, "n_tasks must be at least"),
    ],
)
def test_families_and_tasks_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
