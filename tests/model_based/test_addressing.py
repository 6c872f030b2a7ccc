"""The memory's addressing, by hand on three slots."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers

from mlcode.model_based.addressing import (
    content_weights,
    decayed_usage,
    least_used,
    one_hot,
    write_weights,
    written,
)
from tests.helpers import SEEDS, distance, seeded

MEMORY = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], dtype=torch.float64)


def numbers(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_a_head_reads_by_the_angle_of_its_key_whatever_the_lengths():
    weights = content_weights(numbers([5.0, 0.0]), MEMORY)
    e = math.e
    expected = numbers([e, 1, 1 / e]) / (e + 1 + 1 / e)  # cosines 1, 0 and −1
    assert distance(weights, expected) < 1e-6


def test_the_strength_multiplies_the_cosines():
    weights = content_weights(numbers([0.1, 0.0]), MEMORY, numbers(2.0))
    assert distance(weights, torch.softmax(numbers([2.0, 0.0, -2.0]), -1)) < 1e-6


def test_a_slot_that_was_never_written_has_no_direction():
    key = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    memory = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    weights = content_weights(key, memory)
    assert distance(weights, torch.full((1, 3), 1 / 3, dtype=torch.float64)) < 1e-12
    weights[0, 0].backward()
    assert key.grad.isfinite().all()
    assert memory.grad.isfinite().all()


def test_each_head_gets_one_of_the_least_used_slots():
    usage = torch.tensor([0.5, 0.1, 0.3], dtype=torch.float64)
    assert least_used(usage, 1).tolist() == [[0, 1, 0]]
    assert least_used(usage, 2).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert least_used(torch.zeros(3), 2).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_more_heads_than_slots_share():
    assert least_used(torch.tensor([0.5, 0.1]), 3).tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("gate", "expected"),
    [(0.0, [0, 0, 1]), (1.0, [0.25, 0.75, 0]), (0.5, [0.125, 0.375, 0.5])],
)
def test_the_gate_shares_a_write_between_what_was_read_and_the_free_slot(gate, expected):
    read, free = numbers([0.25, 0.75, 0]), numbers([0, 0, 1])
    assert write_weights(numbers(gate), read, free).tolist() == [expected]


def test_the_free_slot_is_emptied_and_the_others_are_added_to():
    weights, free = numbers([0.25, 0.75, 0]), numbers([0, 0, 1])
    memory = written(MEMORY, weights, numbers([4.0, 8.0]), free)
    assert memory.tolist() == [[4, 2], [3, 8], [0, 0]]
    memory = written(MEMORY, free, numbers([4.0, 8.0]), free)
    assert memory.tolist() == [[3, 0], [0, 2], [4, 8]]


def test_usage_decays_and_grows_by_reads_and_writes_and_has_no_gradient():
    read = numbers([0.5, 0.5, 0]).requires_grad_()
    usage = decayed_usage(torch.ones(3, dtype=torch.float64), read, numbers([0, 0, 1]), 0.5)
    assert usage.tolist() == [1, 1, 1.5]
    assert not usage.requires_grad


def test_what_was_written_is_found_again_until_its_slot_is_the_least_used():
    """Three slots, four writes: the first is forgotten, since nothing read it."""
    memory, usage = torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    things = torch.eye(4, dtype=torch.float64)
    nothing = torch.zeros(1, 3, dtype=torch.float64)
    for thing in things:
        free = least_used(usage, 1)
        memory = written(memory, free, thing[None], free)
        usage = decayed_usage(usage, nothing, free, 0.9)
    found = content_weights(things, memory, torch.full((4,), 50.0).double()) @ memory
    assert distance(found[1:], things[1:]) < 1e-6
    assert found[0].abs().max() < 0.5


@given(seed=SEEDS, n_slots=integers(1, 5), n_heads=integers(1, 3))
def test_weights_are_shares_for_any_number_of_slots_heads_and_tasks(seed, n_slots, n_heads):
    draw = seeded(seed)

    def noise(*size):
        return torch.randn(2, *size, generator=draw, dtype=torch.float64)

    read = content_weights(noise(n_heads, 3), noise(n_slots, 3), noise(n_heads).abs())
    free = least_used(noise(n_slots), n_heads)
    write = write_weights(noise(n_heads).sigmoid(), read, free)
    for weights in (read, free, write):
        assert weights.shape == (2, n_heads, n_slots)
        assert (weights >= 0).all()
        assert distance(weights.sum(-1), torch.ones(2, n_heads, dtype=torch.float64)) < 1e-12


def test_labels_one_hot():
    assert one_hot(torch.tensor([2, 0]), 3, torch.float64).tolist() == [[0, 0, 1], [1, 0, 0]]
