import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import floats, integers, lists
from torch import nn

from mlcode import (
    MAML,
    Estimate,
    Examples,
    LinearFunctions,
    MetaLearner,
    Sinusoids,
    Tasks,
    accuracy,
    evaluate,
)
from tests.helpers import (
    SEEDS,
    compiles,
    conv_net,
    network,
    random_tasks,
    same,
    seeded,
    smooth_net,
    snapshot,
)

SOURCE = Sinusoids(dtype=torch.float64)


class Fixed:
    """A source that always gives the first of the same tasks."""

    def __init__(self, tasks):
        self.tasks = tasks

    def sample(self, n_tasks, *, generator=None, device=None):
        return self.tasks.select(slice(0, n_tasks)).to(device)


class Draws:
    """Tasks whose one query target is a number from a skewed distribution of mean 1."""

    def sample(self, n_tasks, *, generator=None, device=None):
        y = torch.empty(n_tasks, 1, 1).exponential_(generator=generator)
        return Tasks(Examples(torch.zeros_like(y), y), Examples(torch.zeros_like(y), y))


class Zero(MetaLearner):
    """Predicts 0, so that its absolute error is the target."""

    def __init__(self):
        super().__init__(loss_fn=F.l1_loss)

    def predict(self, support, query_x):
        return torch.zeros_like(query_x)


@given(values=lists(floats(-1e3, 1e3), min_size=2, max_size=30))
def test_mean_and_interval_are_those_of_the_formula(values):
    estimate = Estimate.of(np.array(values))
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    assert estimate.mean == pytest.approx(mean, abs=1e-9)
    assert estimate.interval == pytest.approx(1.96 * spread / math.sqrt(len(values)), abs=1e-9)
    assert estimate.n_tasks == len(values)
    assert list(estimate.values) == values


def test_an_interval_by_hand():
    estimate = Estimate.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert estimate.mean == 2.5
    assert estimate.interval == pytest.approx(1.96 * math.sqrt(5 / 3) / 2)
    assert f"{estimate}" == str(estimate) == "2.500 ± 1.265"
    assert f"{estimate:.1f}" == "2.5 ± 1.3"


def test_the_values_are_the_learners_loss_on_each_task_after_its_test_steps():
    learner = MAML(smooth_net(), n_inner_steps=1, n_test_steps=3)
    estimate = evaluate(learner, SOURCE, n_tasks=7, generator=seeded(1))
    expected = MAML(smooth_net(), n_inner_steps=3).losses(SOURCE.sample(7, generator=seeded(1)))
    assert estimate.values == pytest.approx(expected.detach().numpy(), rel=1e-12)


@given(seed=SEEDS, batch_size=integers(1, 12))
def test_the_batch_size_changes_neither_tasks_nor_values(seed, batch_size):
    learner = MAML(smooth_net())
    together = evaluate(learner, SOURCE, 10, generator=seeded(seed), batch_size=10)
    apart = evaluate(learner, SOURCE, 10, generator=seeded(seed), batch_size=batch_size)
    assert apart.values == pytest.approx(together.values, rel=1e-12)


def test_without_a_generator_every_learner_meets_the_same_tasks():
    torch.manual_seed(1)
    first = evaluate(MAML(smooth_net()), SOURCE, 10)
    torch.manual_seed(2)
    assert list(evaluate(MAML(smooth_net()), SOURCE, 10).values) == list(first.values)


def test_evaluation_draws_nothing_from_the_global_generator():
    learner = MAML(network(nn.Linear(1, 4), nn.Dropout(), nn.Linear(4, 1)))
    before = torch.get_rng_state()
    evaluate(learner, SOURCE, 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_leaves_weights_gradients_and_modes_as_they_were():
    net = network(nn.Linear(1, 4), nn.Dropout(), nn.Linear(4, 1))
    learner = MAML(net).train()
    net[1].eval()  # frozen by its owner
    before = snapshot(learner)
    estimate = evaluate(learner, SOURCE, 4)
    assert same(snapshot(learner), before)
    assert all(p.grad is None for p in learner.parameters())
    assert learner.training
    assert net[0].training
    assert not net[1].training
    assert isinstance(estimate.mean, float)


def test_the_mode_is_restored_after_an_error_too():
    def broken(prediction, y):
        raise RuntimeError("by design")

    learner = MAML(smooth_net()).train()
    with pytest.raises(RuntimeError, match="by design"):
        evaluate(learner, SOURCE, 4, metric=broken)
    assert learner.training


def test_dropout_is_off():
    learner = MAML(network(nn.Linear(1, 30), nn.Dropout(), nn.Linear(30, 1))).train()
    assert list(evaluate(learner, SOURCE, 4).values) == list(evaluate(learner, SOURCE, 4).values)


@pytest.mark.parametrize("mapping", ["vmap", "loop"])
def test_a_metric_is_called_with_prediction_and_target_of_one_task(mapping):
    def accuracy(prediction, y):
        assert prediction.shape == (8, 3)
        assert y.shape == (8,)
        return (prediction.argmax(-1) == y).double().mean()

    tasks = random_tasks(5, 6, 8, (1, 6, 6), (), classes=3)
    learner = MAML(conv_net(stride=2), loss_fn=F.cross_entropy, mapping=mapping)
    estimate = evaluate(learner, Fixed(tasks), 5, metric=accuracy)
    by_hand = [
        accuracy(learner.eval().predict(task.support, task.query.x), task.query.y)
        for task in map(tasks.select, range(5))
    ]
    assert list(estimate.values) == [float(value) for value in by_hand]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_dtype_is_evaluated(dtype):
    learner = MAML(smooth_net().to(dtype))
    assert evaluate(learner, Sinusoids(dtype=dtype), 3).values.dtype == np.float64


@compiles
def test_a_compiled_learner_is_evaluated_like_the_learner_itself():
    learner = MAML(smooth_net())
    compiled = evaluate(torch.compile(learner), SOURCE, 5)
    assert list(compiled.values) == list(evaluate(learner, SOURCE, 5).values)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    """The mean of the tasks is 1. Over 600 repetitions the count has a standard deviation of 5."""
    draw, learner = seeded(0), Zero()
    covered = 0
    for _ in range(600):
        estimate = evaluate(learner, Draws(), 200, generator=draw)
        covered += abs(estimate.mean - 1) < estimate.interval
    assert 550 <= covered <= 590


def test_a_task_whose_loss_is_not_finite_is_named():
    tasks = random_tasks(6, 3, 4, (1,), (1,))
    tasks.query.y[4, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 6 tasks gave none, the first being task 4 with nan"):
        evaluate(MAML(smooth_net()), Fixed(tasks), 6, batch_size=2)


@pytest.mark.parametrize("n_tasks", [1, 0, -3])
def test_an_interval_needs_two_tasks(n_tasks):
    with pytest.raises(ValueError, match=f"n_tasks must be at least 2; got {n_tasks}"):
        evaluate(MAML(smooth_net()), SOURCE, n_tasks)
    with pytest.raises(ValueError, match=r"one value for each of at least 2 tasks; got \(1,\)"):
        Estimate.of(np.array([1.0]))


@pytest.mark.usefixtures("unchecked")
def test_a_metric_that_gives_many_values_a_task_is_refused():
    with pytest.raises(ValueError, match=r"one value for each .* got \(5, 10, 1\)"):
        evaluate(MAML(smooth_net()), SOURCE, 5, metric=lambda prediction, y: (prediction - y) ** 2)


def test_a_batch_holds_at_least_one_task():
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        evaluate(MAML(smooth_net()), SOURCE, 5, batch_size=0)


def test_tasks_of_another_dtype_than_the_learner_are_refused():
    with pytest.raises(ValueError, match=r"one floating dtype; .*float64.*parameters: .*float32"):
        evaluate(MAML(smooth_net().float()), LinearFunctions(dtype=torch.float64), 5)


@pytest.mark.usefixtures("unchecked")
def test_a_network_is_no_learner_and_a_count_no_float():
    with pytest.raises(TypeError, match=r"a MetaLearner, .* got Sequential.*MAML\(network\)"):
        evaluate(smooth_net(), SOURCE, 5)
    with pytest.raises(TypeError, match=r"n_tasks must be an integer; got 5.0 \(float\)"):
        evaluate(MAML(smooth_net()), SOURCE, 5.0)


def test_accuracy_is_the_share_of_labels_hit():
    outputs = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [0.0, 1.0]])
    assert accuracy(outputs, torch.tensor([0, 1, 1, 1])).item() == 0.75


@pytest.mark.parametrize(
    ("outputs", "y"),
    [
        (torch.zeros(4), torch.zeros(4, dtype=torch.long)),
        (torch.zeros(4, 2), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(4, 2), torch.zeros(4)),
    ],
)
def test_accuracy_without_one_label_for_each_row_of_outputs_is_refused(outputs, y):
    with pytest.raises(ValueError, match="one integer label an example; got"):
        accuracy.__wrapped__(outputs, y) if hasattr(accuracy, "__wrapped__") else accuracy(
            outputs, y
        )
