import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import floats, integers
from torch import nn

from mlcode import ConvNet
from mlcode.transfer import FineTuning, RelationalTransfer
from mlcode.transfer.relations import angle_loss, distance_loss
from tests.helpers import SEEDS, random_tasks, seeded


def pair(seed, n=5):
    draw = seeded(seed)
    student = torch.randn(n, 3, generator=draw, dtype=torch.float64)
    return student, torch.randn(n, 4, generator=draw, dtype=torch.float64)


def huber(a, b):
    d = abs(a - b)
    return d * d / 2 if d < 1 else d - 0.5


def test_three_points_by_hand():
    """Student 0, 1, 3 on a line; teacher a right angle with sides 3, 4, 5 at its first point."""
    student = torch.tensor([[0.0], [1.0], [3.0]]).double()
    teacher = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]).double()
    ours = [1 / 2, 3 / 2, 2 / 2]  # over the mean distance 2: pairs 01, 02, 12
    theirs = [3 / 4, 4 / 4, 5 / 4]
    expected = sum(map(huber, ours, theirs)) / 3
    assert float(distance_loss(student, teacher)) == pytest.approx(expected, abs=1e-14)
    # Cosines at the corners 0, 1, 2: on the line 1, −1, 1; in the triangle 0, 3/5, 4/5.
    expected = sum(map(huber, [1, -1, 1], [0, 3 / 5, 4 / 5])) / 3
    assert float(angle_loss(student, teacher)) == pytest.approx(expected, abs=1e-14)


@given(seed=SEEDS, n=integers(3, 6))
def test_both_losses_are_their_definitions_written_as_loops(seed, n):
    student, teacher = pair(seed, n)

    def distances(z):
        d = {(i, j): math.dist(z[i], z[j]) for i in range(n) for j in range(n) if i != j}
        mean = sum(d.values()) / len(d)
        return {pair: value / mean for pair, value in d.items()}

    def cosines(z):
        found = {}
        for i in range(n):
            for j in range(n):
                for k in range(n):
                    if len({i, j, k}) == 3:
                        a, b = (F.normalize(z[i] - z[j], dim=0), F.normalize(z[k] - z[j], dim=0))
                        found[i, j, k] = float(a @ b)
        return found

    for loss, relation in ((distance_loss, distances), (angle_loss, cosines)):
        ours, theirs = relation(student), relation(teacher)
        expected = sum(huber(ours[key], theirs[key]) for key in ours) / len(ours)
        assert float(loss(student, teacher)) == pytest.approx(expected, abs=1e-12)


@given(seed=SEEDS, scale=floats(0.1, 10))
def test_turning_moving_and_scaling_the_teacher_changes_nothing(seed, scale):
    student, teacher = pair(seed)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=seeded(seed + 1), dtype=torch.float64))
    moved = scale * teacher @ turn + 3
    for loss in (distance_loss, angle_loss):
        assert torch.allclose(loss(student, moved), loss(student, teacher), atol=1e-10)
        assert float(loss(moved, teacher)) == pytest.approx(0, abs=1e-10)


def test_gradients_are_finite_where_examples_coincide():
    student = torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    teacher = pair(0, 4)[1]
    (distance_loss(student, teacher) + angle_loss(student, teacher)).backward()
    assert student.grad.isfinite().all()


def test_too_few_examples_have_no_relations():
    student, teacher = pair(0, 2)
    assert float(angle_loss(student, teacher)) == 0
    assert float(distance_loss(student[:1], teacher[:1])) == 0


def nets(seed=0):
    torch.manual_seed(seed)
    student = ConvNet(3, n_filters=4, image_size=8, n_blocks=2).double()
    teacher = ConvNet(None, n_filters=6, image_size=8, n_blocks=2, downsampling="pool").double()
    return student, teacher


def test_without_relations_it_is_fine_tuning():
    student, teacher = nets()
    support, query = random_tasks(1, 6, 4, (1, 8, 8), (), classes=3).select(0)
    with_none = RelationalTransfer(student, teacher, n_steps=4, distance=0.0, angle=0.0)
    alone = FineTuning(student, n_steps=4)
    assert torch.equal(with_none.predict(support, query.x), alone.predict(support, query.x))


def test_steps_bring_the_students_relations_to_the_teachers():
    student, teacher = nets()
    support = random_tasks(1, 9, 4, (1, 8, 8), (), classes=3).select(0).support
    learner = RelationalTransfer(student, teacher, lr=0.05, n_steps=30, distance=5.0, angle=10.0)
    features = student.with_head(None)

    def gap(theta):
        body = {name: p for name, p in theta.items() if name.startswith("body")}
        z = torch.func.functional_call(features, body, (support.x,))
        both = distance_loss(z, teacher(support.x)) + angle_loss(z, teacher(support.x))
        return float(both.detach())

    assert gap(learner.adapt(support)) < 0.8 * gap(learner.initial())


def test_vmap_and_loop_agree():
    student, teacher = nets()
    tasks = random_tasks(2, 6, 4, (1, 8, 8), (), classes=3)
    losses = [
        RelationalTransfer(student, teacher, n_steps=2, mapping=mapping).losses(tasks)
        for mapping in ("vmap", "loop")
    ]
    assert torch.allclose(*losses, atol=1e-11)


def test_settings_that_make_no_sense_are_refused():
    student, teacher = nets()
    with pytest.raises(ValueError, match="distance must be positive"):
        RelationalTransfer(student, teacher, distance=-1.0)
    with pytest.raises(ValueError, match="student needs a module `head`"):
        RelationalTransfer(nn.Linear(2, 3), teacher)
