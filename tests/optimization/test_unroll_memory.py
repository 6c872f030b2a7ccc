"""A long unroll is foreseen: how much memory it needs, and that it will not fit."""

import pytest
import torch
from torch.optim import SGD

from mlcode import MAML, ImplicitMAML, MetaSGD, Reptile, Sinusoids, train
from mlcode.memory import peak_bytes
from mlcode.optimization import unroll_memory
from mlcode.optimization.unroll_memory import available_bytes, unroll_bytes
from tests.helpers import smooth_net

TASKS = Sinusoids(dtype=torch.float64).sample(3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "settings",
    [
        {"mapping": "vmap"},
        {"mapping": "loop"},
        {"checkpoint_every": 6},
    ],
    ids=str,
)
def test_the_bytes_foreseen_are_those_of_the_real_step(settings):
    learner = MAML(smooth_net(), inner_lr=0.001, n_inner_steps=36, **settings)
    parameters = list(learner.parameters())
    peak = peak_bytes(lambda: torch.autograd.grad(learner(TASKS), parameters))
    assert unroll_bytes(learner, TASKS) == pytest.approx(peak, rel=0.15)


def test_without_checkpoints_it_grows_in_proportion_and_with_them_more_slowly():
    def needed(k, **settings):
        return unroll_bytes(MAML(smooth_net(), n_inner_steps=k, **settings), TASKS)

    assert needed(4000) / needed(1000) == pytest.approx(4, rel=0.02)
    assert needed(4000, checkpoint_every=10) < needed(4000) / 5


@pytest.mark.parametrize("kind", [MAML, MetaSGD])
def test_an_unroll_that_will_not_fit_says_what_it_would_need_before_the_first_step(kind):
    learner = kind(smooth_net(), n_inner_steps=10**9)
    with pytest.raises(MemoryError, match=r"1,000,000,000 inner steps on 3 tasks.*[\d.]+ TB.*free"):
        learner.check_fits(TASKS)
    before = [p.clone() for p in learner.parameters()]
    with pytest.raises(MemoryError, match="checkpoint_every=31622"):
        train(
            learner,
            Sinusoids(dtype=torch.float64),
            n_iterations=1,
            n_tasks=3,
            optimizer=SGD(learner.parameters(), 0.1),
        )
    assert all(map(torch.equal, before, learner.parameters()))


def test_what_fits_is_let_through():
    MAML(smooth_net(), n_inner_steps=100).check_fits(TASKS)
    assert available_bytes(torch.device("cpu")) > 10**6


@pytest.mark.parametrize(
    "learner",
    [
        MAML(smooth_net(), n_inner_steps=10**9, first_order=True),
        ImplicitMAML(smooth_net(), n_inner_steps=10**9),
        Reptile(smooth_net(), n_inner_steps=10**9),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_learners_whose_memory_does_not_grow_are_not_asked(learner):
    learner.check_fits(TASKS)


def test_the_answer_depends_on_what_is_free(monkeypatch):
    learner = MAML(smooth_net(), n_inner_steps=100)
    needed = unroll_bytes(learner, TASKS)
    monkeypatch.setattr(unroll_memory, "available_bytes", lambda device: needed)
    learner.check_fits(TASKS)
    monkeypatch.setattr(unroll_memory, "available_bytes", lambda device: needed - 1)
    with pytest.raises(MemoryError):
        learner.check_fits(TASKS)
