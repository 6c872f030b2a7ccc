"""MANN: its states, its writing, and the LSTM that it is without memory."""

import pytest
import torch
from torch import nn
from torch.optim import Adam
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mlcode import Examples, Tasks, train
from mlcode.model_based import MemoryLearner
from mlcode.model_based.presentations import accuracy_by_presentation
from tests.helpers import distance, random_tasks, reseed, seeded


def sequence(n=6, classes=3, seed=0):
    return random_tasks(1, n, 1, (4,), (), classes=classes, seed=seed).select(0).support


def test_without_slots_it_is_torchs_lstm():
    learner = reseed(MemoryLearner(4, 3, n_slots=0, n_hidden=5).double())
    lstm = nn.LSTM(7, 5, batch_first=True).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(learner.inputs.weight)
        lstm.weight_hh_l0.copy_(learner.recurrent.weight)
        lstm.bias_ih_l0.copy_(learner.inputs.bias)
        lstm.bias_hh_l0.zero_()
    x, y = sequence()
    told = torch.cat([torch.zeros(1, 3), torch.eye(3)[y[:-1]]]).double()
    hidden, _ = lstm(torch.cat([x, told], -1)[None])
    assert distance(learner.predictions(Examples(x, y)), learner.head(hidden[0])) < 1e-10


def test_every_step_writes_to_the_least_used_slot():
    learner = reseed(MemoryLearner(4, 3, n_slots=3, width=4, n_hidden=5, decay=0.5).double())
    with torch.no_grad():
        learner.heads.weight[-2].zero_()
        learner.heads.bias[-2] = -50.0  # the gate: all of a write goes to the free slot
    states = learner.states(sequence())
    before, memory = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    for t in range(6):
        changed = (states.memory[t] - memory).abs().amax(-1) > 1e-9
        assert changed.tolist() == [slot == int(before.argmin()) for slot in range(3)]
        expected = 0.5 * before + states.read[t, 0] + changed
        assert distance(states.usage[t], expected) < 1e-12
        assert distance(states.found[t], states.read[t, 0] @ states.memory[t]) < 1e-12
        before, memory = states.usage[t], states.memory[t]


@pytest.mark.parametrize(("n_slots", "n_heads"), [(1, 1), (2, 4), (3, 1), (50, 2)])
def test_a_memory_smaller_or_larger_than_the_sequence_reads_it_to_the_end(n_slots, n_heads):
    learner = reseed(MemoryLearner(4, 3, n_slots=n_slots, n_heads=n_heads).double())
    answers = learner.predictions(sequence(12))
    assert answers.shape == (12, 3)
    assert answers.isfinite().all()
    answers.sum().backward()
    assert all(p.grad.isfinite().all() for p in learner.parameters())


class Counted(TorchDispatchMode):
    """Counts the numbers that operations return while it is entered."""

    n = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.n += sum(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor))
        return result


def test_a_gradient_costs_in_proportion_to_the_length_of_the_sequence():
    learner = reseed(MemoryLearner(4, 3, n_slots=3, width=4, n_hidden=5).double())
    cost = []
    for n in (50, 100):
        total = learner.predictions(sequence(n)).sum()
        with Counted() as counted:
            total.backward()
        cost.append(counted.n)
    assert cost[1] < 2.1 * cost[0], "each step's gradient must not be as long as the sequence"


def test_nothing_is_left_from_one_task_to_the_next():
    learner = reseed(MemoryLearner(4, 3).double())
    first = learner.predictions(sequence(seed=1))
    learner.predictions(sequence(seed=2))
    assert distance(learner.predictions(sequence(seed=1)), first) == 0


class Clusters:
    """Three clusters of four points, called 0, 1 and 2 in a random order."""

    def sample(self, n_tasks, *, generator=None, device=None):
        centre = torch.randn(n_tasks, 3, 1, 6, generator=generator)
        x = centre + 0.1 * torch.randn(n_tasks, 3, 4, 6, generator=generator)
        y = torch.arange(3)[:, None].expand(n_tasks, 3, 4)
        near, far = x.split([3, 1], 2), y.split([3, 1], 2)
        return Tasks(*(Examples(a.flatten(1, 2), b.flatten(1)) for a, b in zip(near, far)))


def test_it_learns_to_look_up_what_it_was_told():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = MemoryLearner(6, 3, n_slots=12)
        train(
            learner,
            Clusters(),
            n_iterations=250,
            n_tasks=32,
            optimizer=Adam(learner.parameters(), 0.01),
            generator=seeded(0),
            progress=False,
        )
    first, *_, last = accuracy_by_presentation(learner, Clusters(), 200)
    assert last.mean > 0.6  # where a guess is right in a third
    assert first.mean < (1 + 1 / 2 + 1 / 3) / 3 + first.interval, "no label was told by then"
