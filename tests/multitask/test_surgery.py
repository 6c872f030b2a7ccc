"""Gradient surgery, against what can be worked out with a pencil and against its own laws."""

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, permutations

from mlcode.multitask.surgery import gradient_cosines, project_conflicts, random_orders
from tests.helpers import SEEDS, distance, same, seeded


def vectors(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def noise(seed, n_tasks, size):
    return torch.randn(n_tasks, size, generator=seeded(seed), dtype=torch.float64)


THREE = vectors((2.0, 0.0), (-1.0, 1.0), (0.5, -0.5))


def test_three_vectors_by_hand():
    """g₁ = (2, 0), g₂ = (−1, 1), g₃ = (½, −½) with products g₁g₂ = −2, g₁g₃ = 1, g₂g₃ = −1.

    g₁ meets g₂ first: (2, 0) + (2/2)(−1, 1) = (1, 1), then g₃: (1, 1)·(½, −½) = 0, which stays.
    g₂ meets g₁ first: (−1, 1) + (2/4)(2, 0) = (0, 1), then g₃: product −½, ‖g₃‖² = ½, so
    (0, 1) + (½, −½) = (½, ½).
    g₃ meets g₁: product 1, no conflict; then g₂: product −1, ‖g₂‖² = 2, so
    (½, −½) + ½(−1, 1) = (0, 0).
    """
    orders = torch.tensor([[1, 2], [0, 2], [0, 1]])
    expected = vectors((1.0, 1.0), (0.5, 0.5), (0.0, 0.0))
    assert distance(project_conflicts(THREE, orders=orders), expected) < 1e-15


def test_in_another_order_the_same_three_give_something_else():
    """g₂ meets g₃ first: product −1, so (−1, 1) + 2(½, −½) = (0, 0), which nothing moves."""
    orders = torch.tensor([[1, 2], [2, 0], [0, 1]])
    expected = vectors((1.0, 1.0), (0.0, 0.0), (0.0, 0.0))
    assert distance(project_conflicts(THREE, orders=orders), expected) < 1e-15


def test_the_cosines_of_the_three():
    root = 0.5**0.5
    expected = vectors((1, -root, root), (-root, 1, -1), (root, -1, 1))
    assert distance(gradient_cosines(THREE), expected) < 1e-15


@given(seed=SEEDS, size=integers(2, 9))
def test_of_two_tasks_neither_result_goes_against_the_other(seed, size):
    gradients = noise(seed, 2, size)
    first, second = project_conflicts(gradients)
    assert first @ gradients[1] > -1e-12
    assert second @ gradients[0] > -1e-12


@given(seed=SEEDS, n_tasks=integers(1, 5), size=integers(2, 6))
def test_tasks_that_do_not_conflict_are_left_alone(seed, n_tasks, size):
    gradients = noise(seed, n_tasks, size).abs()
    assert same(project_conflicts(gradients, generator=seeded(0)), gradients)


@given(seed=SEEDS, n_tasks=integers(2, 5), size=integers(2, 6))
def test_what_it_takes_out_is_what_the_published_rule_takes_out(seed, n_tasks, size):
    """Algorithm 1, written for one pair at a time with the quotient of the paper."""
    gradients, orders = noise(seed, n_tasks, size), random_orders(n_tasks, seeded(seed))
    expected = []
    for i in range(n_tasks):
        g = gradients[i].clone()
        for j in orders[i].tolist():
            product = torch.dot(g, gradients[j])
            if product < 0:
                g = g - product / gradients[j].square().sum() * gradients[j]
        expected.append(g)
    assert distance(project_conflicts(gradients, orders=orders), torch.stack(expected)) < 1e-12


@given(seed=SEEDS, order=permutations(range(4)))
def test_renaming_the_tasks_renames_the_cosines(seed, order):
    gradients, order = noise(seed, 4, 3), torch.tensor(order)
    renamed = gradient_cosines(gradients[order])
    assert distance(renamed, gradient_cosines(gradients)[order][:, order]) < 1e-14


@pytest.mark.parametrize("size", [1e-200, 1e-320, 1e200])
def test_a_tiny_or_huge_gradient_has_a_direction_all_the_same(size):
    """Its square is 0 or infinite; what surgery takes out of the other does not depend on it."""
    gradients = vectors((1.0, 0.0), (-size, size))
    assert gradient_cosines(gradients)[0, 1].item() == pytest.approx(-(0.5**0.5), rel=1e-3)
    found = project_conflicts(gradients)[0]
    assert distance(found, vectors((0.5, 0.5))[0]) < 1e-3


def test_a_gradient_of_zero_has_no_direction_and_moves_nothing():
    gradients = vectors((1.0, 2.0), (0.0, 0.0))
    assert same(project_conflicts(gradients), gradients)
    assert gradient_cosines(gradients)[0, 1] == 0
    assert gradient_cosines(gradients)[1, 1] == 0


@given(seed=SEEDS, n_tasks=integers(1, 6))
def test_every_task_meets_every_other_once_in_an_order_that_the_seed_settles(seed, n_tasks):
    orders = random_orders(n_tasks, seeded(seed))
    for i, order in enumerate(orders.tolist()):
        assert sorted([i, *order]) == list(range(n_tasks))
    assert same(orders, random_orders(n_tasks, seeded(seed)))


def test_an_order_that_leaves_a_task_out_is_refused():
    with pytest.raises(ValueError, match="row 1 of orders must list every task but 1 once"):
        project_conflicts(THREE, orders=torch.tensor([[1, 2], [0, 0], [0, 1]]))
