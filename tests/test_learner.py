import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers, sampled_from
from torch import nn

from mlcode import MAML, MLP, MetaLearner
from tests.helpers import (
    SEEDS,
    conv_net,
    distance,
    gradients,
    network,
    random_tasks,
    reseed,
    smooth_net,
)


class ClassMeans(MetaLearner):
    """A learner without inner steps: score each query by its nearness to the classes' means."""

    def __init__(self, classes, **settings):
        super().__init__(loss_fn=F.cross_entropy, **settings)
        self.embed = reseed(nn.Linear(4, 6).double())
        self.classes = classes

    def predict(self, support, query_x):
        member = F.one_hot(support.y, self.classes).to(support.x)
        means = member.T @ self.embed(support.x) / (member.sum(0)[:, None] + 1)
        return -(torch.cdist(self.embed(query_x), means) ** 2)


def every_mapping(make, tasks):
    """The losses and the meta-gradient by loop, by vmap, and by vmap in chunks."""
    ways = ({"mapping": "loop"}, {"mapping": "vmap"}, {"mapping": "vmap", "chunk_size": 2})
    for way in ways:
        learner = make(**way)
        yield learner.losses(tasks).detach(), gradients(learner, tasks)


def assert_all_equal(results):
    (losses, gradient), *others = results
    for other_losses, other_gradient in others:
        assert distance(other_losses, losses) < 1e-12
        assert distance(other_gradient, gradient) < 1e-12


@given(seed=SEEDS, n_tasks=integers(1, 5), n_steps=integers(0, 3), first_order=sampled_from([0, 1]))
def test_loop_vmap_and_chunks_agree_for_an_mlp(seed, n_tasks, n_steps, first_order):
    def make(**way):
        model = reseed(MLP(2, 6, 3).double(), seed)
        return MAML(model, n_inner_steps=n_steps, first_order=bool(first_order), **way)

    tasks = random_tasks(n_tasks, 4, 5, (2,), (3,), seed=seed)
    assert_all_equal(every_mapping(make, tasks))


@given(n_tasks=integers(1, 7), chunk_size=integers(1, 8))
def test_vmap_takes_a_chunk_of_tasks_at_a_time(n_tasks, chunk_size):
    learner, calls = MAML(smooth_net(2), mapping="vmap", chunk_size=chunk_size), []

    def watched(x):
        calls.append(x)
        return x.sum()

    learner.map(watched, torch.zeros(n_tasks, 3))
    assert len(calls) == math.ceil(n_tasks / chunk_size)


@pytest.mark.parametrize("stride", [1, 2])
def test_loop_vmap_and_chunks_agree_for_convolutions(stride):
    def make(**way):
        net = conv_net(stride=stride)
        return MAML(net, inner_lr=0.1, n_inner_steps=2, loss_fn=F.cross_entropy, **way)

    tasks = random_tasks(5, 4, 6, (1, 6, 6), (), classes=3)
    assert_all_equal(every_mapping(make, tasks))


def test_loop_vmap_and_chunks_agree_for_a_learner_without_inner_steps():
    tasks = random_tasks(5, 6, 6, (4,), (), classes=3)
    assert_all_equal(every_mapping(lambda **way: ClassMeans(3, **way), tasks))


def test_automatic_mapping_loops_over_stride_1_convolutions_on_a_cpu_and_batches_all_else():
    def uses_vmap(model, **way):
        return MAML(model, **way)._uses_vmap()

    assert uses_vmap(MLP(1, 4, 1))
    assert uses_vmap(conv_net(stride=2))
    assert not uses_vmap(conv_net(stride=1))
    assert uses_vmap(conv_net(stride=1).to("meta"))  # any device that is not the CPU
    assert uses_vmap(conv_net(stride=1), mapping="vmap")
    assert not uses_vmap(MLP(1, 4, 1), mapping="loop")


@given(seed=SEEDS)
def test_forward_is_the_mean_over_tasks_of_each_tasks_own_loss(seed):
    tasks = random_tasks(4, 3, 5, (2,), (1,), seed=seed)
    learner = MAML(smooth_net(2, seed=seed), n_inner_steps=2)
    one_by_one = [
        F.mse_loss(learner.predict(task.support, task.query.x), task.query.y)
        for task in map(tasks.select, range(4))
    ]
    assert distance(learner(tasks), torch.stack(one_by_one).mean()) < 1e-12


@given(seed=SEEDS, order=sampled_from([[3, 1, 0, 2], [1, 2, 3, 0], [0, 1, 3, 2]]))
def test_permuting_tasks_permutes_losses(seed, order):
    tasks = random_tasks(4, 3, 5, (2,), (1,), seed=seed)
    learner = MAML(smooth_net(2), n_inner_steps=2)
    assert (
        distance(learner.losses(tasks.select(torch.tensor(order))), learner.losses(tasks)[order])
        < 1e-12
    )


def test_a_tasks_loss_does_not_depend_on_the_others_in_its_batch():
    tasks = random_tasks(5, 3, 5, (2,), (1,))
    learner = MAML(smooth_net(2), n_inner_steps=2)
    assert distance(learner.losses(tasks.select(slice(2, 4))), learner.losses(tasks)[2:4]) < 1e-12


@pytest.mark.parametrize("mapping", ["vmap", "loop"])
def test_dropout_draws_anew_for_each_task_in_training_and_is_off_in_evaluation(mapping):
    net = network(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1))
    tasks = random_tasks(1, 3, 5, (2,), (1,)).select(torch.zeros(6, dtype=torch.int64))
    learner = MAML(net, mapping=mapping)  # six copies of one task
    assert len(learner.losses(tasks).unique()) == 6
    learner.eval()
    assert float(learner.losses(tasks).detach().std()) < 1e-12


def test_a_map_takes_plain_tensors_beside_examples():
    learner = MAML(smooth_net(2))
    tasks = random_tasks(3, 4, 5, (2,), (1,))
    for mapping in ("vmap", "loop"):
        learner.mapping = mapping
        predictions = learner.map(learner.predict, tasks.support, tasks.query.x)
        assert predictions.shape == (3, 5, 1)
        assert distance(learner.map(torch.sum, tasks.query.x), tasks.query.x.sum((1, 2))) < 1e-12


def test_a_learner_without_parameters_still_has_losses():
    class SupportMean(MetaLearner):
        def predict(self, support, query_x):
            return support.y.mean(0).expand(len(query_x), -1)

    tasks = random_tasks(3, 4, 5, (2,), (1,))
    expected = ((tasks.query.y - tasks.support.y.mean(1, keepdim=True)) ** 2).mean((1, 2))
    assert distance(SupportMean(loss_fn=F.mse_loss).losses(tasks), expected) < 1e-12


def test_a_loss_module_and_a_partial_function_are_losses_too():
    tasks = random_tasks(3, 4, 5, (2,), (1,))
    as_function = MAML(smooth_net(2), loss_fn=F.huber_loss)
    as_module = MAML(smooth_net(2), loss_fn=nn.HuberLoss())
    as_partial = MAML(smooth_net(2), loss_fn=partial(F.huber_loss, delta=1.0))
    assert torch.equal(as_module(tasks), as_function(tasks))
    assert torch.equal(as_partial(tasks), as_function(tasks))


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_mapping_is_refused_with_the_nearest_known_one():
    with pytest.raises(
        ValueError, match=r"'auto', 'vmap', 'loop'; got 'vmapp'. Did you mean 'vmap'"
    ):
        MAML(MLP(1, 1), mapping="vmapp")


def test_a_chunk_holds_at_least_one_task():
    with pytest.raises(ValueError, match="chunk_size must be at least 1; got 0"):
        MAML(MLP(1, 1), chunk_size=0)
