"""A trunk, heads, and batches of tasks that are as unlike as they please."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers
from torch import nn

from mlcode import Examples, LinearFunctions
from mlcode.multitask import (
    ExampleBatches,
    FixedWeights,
    HardSharing,
    UncertaintyWeights,
    by_name,
    fill_gradients,
    gradient_cosines,
    project_conflicts,
    shared_gradients,
    train_jointly,
    with_shared_inputs,
)
from tests.helpers import SEEDS, distance, network, same, seeded


def heads(**n_outs):
    return {name: network(nn.Linear(5, n), seed=i) for i, (name, n) in enumerate(n_outs.items())}


def model(weighting=None, trunk=None):
    """A regression of two numbers and a choice of four classes on one trunk."""
    return HardSharing(
        network(nn.Linear(3, 5), nn.Tanh()) if trunk is None else trunk,
        heads(height=2, kind=4),
        loss_fns={"height": F.mse_loss, "kind": F.cross_entropy},
        weighting=weighting,
    )


def batch(seed=0, n_height=7, n_kind=4):
    """Tasks of unequal size with inputs of their own."""
    draw = seeded(seed)

    def normal(*size):
        return torch.randn(*size, generator=draw, dtype=torch.float64)

    kinds = torch.randint(4, (n_kind,), generator=draw)
    return {
        "height": Examples(normal(n_height, 3), normal(n_height, 2)),
        "kind": Examples(normal(n_kind, 3), kinds),
    }


def gradients_of(learner):
    return {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in learner.named_parameters()
    }


@given(seed=SEEDS, n_height=integers(1, 9), n_kind=integers(1, 9))
def test_the_objective_is_the_mean_of_the_tasks_losses_whatever_their_sizes(seed, n_height, n_kind):
    learner, data = model(), batch(seed, n_height, n_kind)
    by_hand = [
        F.mse_loss(learner.heads[0](learner.trunk(data["height"].x)), data["height"].y),
        F.cross_entropy(learner.heads[1](learner.trunk(data["kind"].x)), data["kind"].y),
    ]
    assert distance(learner(data), torch.stack(by_hand).mean()) < 1e-14


@given(seed=SEEDS)
def test_the_trunks_gradient_is_the_mean_of_the_single_tasks_and_a_head_has_its_own(seed):
    learner, data = model(), batch(seed)
    fill_gradients(learner, data)
    together = gradients_of(learner)
    alone = []
    for name in data:
        learner.zero_grad()
        fill_gradients(learner, {name: data[name]})
        alone.append(gradients_of(learner))
    for name, gradient in together.items():
        assert distance(gradient, (alone[0][name] + alone[1][name]) / 2) < 1e-14
    assert (alone[0]["heads.1.0.weight"] == 0).all()


@given(seed=SEEDS)
def test_tasks_on_the_same_inputs_pass_the_trunk_once_and_lose_nothing(seed):
    passes = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network(nn.Linear(3, 5), nn.Tanh())

        def forward(self, x):
            passes.append(len(x))
            return self.inner(x)

    own = batch(seed, 6, 6)
    shared = with_shared_inputs(own["height"].x, {name: part.y for name, part in own.items()})
    copied = {name: Examples(part.x.clone(), part.y) for name, part in shared.items()}
    learner = model(trunk=Counting())
    losses = learner.losses(shared)
    assert passes == [6]
    assert all(
        distance(loss, losses[name]) < 1e-14 for name, loss in learner.losses(copied).items()
    )
    assert passes == [6, 6, 6]


def test_a_task_that_is_not_in_the_batch_has_no_part_in_the_step():
    learner, data = (
        model(UncertaintyWeights({"height": "regression", "kind": "classification"})),
        batch(),
    )
    fill_gradients(learner, {"height": data["height"]})
    assert learner.heads[1][0].weight.grad is None
    assert learner.weighting.log_variance[1].grad is None
    assert learner.trunk[0].weight.grad.abs().sum() > 0


@given(seed=SEEDS)
def test_a_weight_of_zero_is_the_same_as_leaving_the_task_out(seed):
    learner, data = model(FixedWeights({"height": 1.0, "kind": 0.0})), batch(seed)
    fill_gradients(learner, data)
    weighed = gradients_of(learner)
    learner.zero_grad()
    fill_gradients(learner, {"height": data["height"]})
    assert same(gradients_of(learner), weighed)


@pytest.mark.parametrize("surgery", [False, True])
def test_a_task_that_cannot_be_computed_stops_training_unless_its_weight_is_zero(surgery):
    data = batch()
    data["height"].y[0, 0] = float("nan")
    with pytest.raises(ValueError, match="the loss of task 'height' is nan"):
        fill_gradients(model(), data, surgery=surgery)
    learner = model(FixedWeights({"height": 0.0, "kind": 1.0}))
    fill_gradients(learner, data, surgery=surgery)
    assert all(p.isfinite().all() for p in gradients_of(learner).values())


@given(seed=SEEDS)
def test_surgery_repairs_the_trunk_and_leaves_the_heads_alone(seed):
    learner, data = model(FixedWeights({"height": 3.0, "kind": 1.0})), batch(seed)
    fill_gradients(learner, data)
    plain = gradients_of(learner)
    names, rows = shared_gradients(learner, data)
    weights = torch.tensor([[3.0], [1.0]]).double() / 4
    expected = project_conflicts(weights * rows).sum(0)
    fill_gradients(learner, data, surgery=True)
    repaired = gradients_of(learner)
    trunk = torch.cat([g.flatten() for n, g in repaired.items() if n.startswith("trunk")])
    assert names == ("height", "kind")
    assert distance(trunk, expected) < 1e-14
    for name in plain:
        if name.startswith("heads"):
            assert distance(repaired[name], plain[name]) < 1e-14


def test_two_tasks_with_opposite_targets_conflict_fully_and_surgery_stands_still():
    """y and −y from one input through one head shape: with equal heads the gradients are opposite
    up to the part that both errors share, which is zero where the prediction is."""
    x = torch.randn(8, 3, generator=seeded(0), dtype=torch.float64)
    y = x.sum(1, keepdim=True)
    trunk = network(nn.Linear(3, 5, bias=False))
    head = network(nn.Linear(5, 1, bias=False))
    with torch.no_grad():
        trunk[0].weight.zero_()
    learner = HardSharing(trunk, {"up": head, "down": head})
    data = with_shared_inputs(x, {"up": y, "down": -y})
    _, rows = shared_gradients(learner, data)
    assert gradient_cosines(rows)[0, 1].item() == pytest.approx(-1)
    fill_gradients(learner, data, surgery=True)
    assert all(g.abs().max() < 1e-14 for g in gradients_of(learner).values())


def test_tasks_that_share_no_parameter_have_no_conflict_to_measure():
    with pytest.raises(ValueError, match="the tasks height share no parameter"):
        shared_gradients(model(), {"height": batch()["height"]})


def test_training_follows_plain_gradient_descent_on_the_mean():
    data = batch()
    learner, by_hand = model(), model()
    history = train_jointly(
        learner,
        ExampleBatches(data),
        n_iterations=5,
        optimizer=torch.optim.SGD(learner.parameters(), 0.1),
    )
    optimizer = torch.optim.SGD(by_hand.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        sum(by_hand.losses(data).values()).div(2).backward()
        optimizer.step()
    assert distance(dict(learner.named_parameters()), dict(by_hand.named_parameters())) < 1e-14
    assert history.losses.shape == (5, 2)
    assert (history.losses[-1] < history.losses[0]).all()
    assert len(history) == 5


@given(seed=SEEDS, size=integers(1, 8))
def test_batches_hold_each_tasks_own_examples_without_repeats(seed, size):
    data = batch(seed, 7, 4)
    drawn = ExampleBatches(data, size).sample(generator=seeded(seed))
    assert {name: len(part.x) for name, part in drawn.items()} == {
        "height": min(size, 7),
        "kind": min(size, 4),
    }
    for name, (x, y) in drawn.items():
        rows = {tuple(a.tolist()): tuple(b.flatten().tolist()) for a, b in zip(*data[name])}
        assert len({tuple(a.tolist()) for a in x}) == len(x)
        assert all(rows[tuple(a.tolist())] == tuple(b.flatten().tolist()) for a, b in zip(x, y))


def test_batches_of_tasks_on_the_same_inputs_show_the_same_inputs():
    own = batch(0, 6, 6)
    data = with_shared_inputs(own["height"].x, {name: part.y for name, part in own.items()})
    drawn = ExampleBatches(data, 3).sample(generator=seeded(0))
    assert drawn["height"].x is drawn["kind"].x


def test_the_support_sets_of_a_batch_of_tasks_go_by_name():
    support = LinearFunctions(2, n_shot=5).sample(3, generator=seeded(0)).support
    data = by_name(support)
    assert list(data) == ["task 0", "task 1", "task 2"]
    assert torch.equal(data["task 1"].y, support.y[1])
    same_x = Examples(support.x[:1].expand(3, -1, -1), support.y)
    shared = by_name(same_x, ["a", "b", "c"])
    assert shared["a"].x is shared["c"].x


EMPTY = Examples(torch.zeros(0, 3).double(), torch.zeros(0, 2).double())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: model()(batch() | {"height": EMPTY}), ValueError, "task 'height' has no examples"),
        (lambda: ExampleBatches({"a": EMPTY}), ValueError, "Leave the task out of the batch"),
        (lambda: ExampleBatches({}), ValueError, "at least one task"),
        (lambda: ExampleBatches([EMPTY]), TypeError, "mapping of task names to Examples; got list"),
        (lambda: ExampleBatches(batch(), 0), ValueError, "batch_size must be at least 1"),
        (lambda: model()({}), ValueError, "at least one task"),
        (lambda: model()({"heigth": EMPTY}), ValueError, "Did you mean 'height'"),
        (lambda: model()({"height": (1, 2)}), TypeError, "got {'height': 'tuple'}"),
        (
            lambda: model()({"height": Examples(torch.zeros(3, 3), torch.zeros(2, 2))}),
            ValueError,
            "task 'height' needs one target per input",
        ),
        (
            lambda: model()({"kind": Examples(torch.zeros(1, 3).double(), torch.tensor([4]))}),
            ValueError,
            r"task 'kind': labels must lie in 0 … 3; y holds 4",
        ),
        (
            lambda: model()(
                {"height": Examples(torch.zeros(1, 3).double(), torch.zeros(1, 1).double())}
            ),
            ValueError,
            r"task 'height': the prediction has shape \(1, 2\) and its target \(1, 1\)",
        ),
        (
            lambda: HardSharing(network(nn.Linear(3, 6)), heads(a=1))(
                {"a": Examples(torch.zeros(1, 3).double(), torch.zeros(1, 1).double())}
            ),
            ValueError,
            r"the trunk makes 6 feature\(s\) and the head takes 5",
        ),
        (lambda: HardSharing(nn.Identity(), {}), ValueError, "at least one task"),
        (
            lambda: HardSharing(nn.Identity(), heads(a=1), loss_fns={"b": F.mse_loss}),
            ValueError,
            "loss_fns are for the tasks b, and heads for a",
        ),
        (
            lambda: HardSharing(nn.Identity(), heads(a=1), weighting=FixedWeights(["b"])),
            ValueError,
            "the weighting is for the tasks b, and the tasks are a",
        ),
        (lambda: model().predict("kinds", torch.zeros(1, 3)), ValueError, "Did you mean 'kind'"),
        (lambda: by_name(batch()["height"], ["a", "a"]), ValueError, "expected 7 distinct names"),
    ],
)
def test_data_and_models_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
