"""Ctrl-C in the middle of training: what is saved, and that it is whole."""

import os
import signal
import threading

import pytest
import torch
from torch.optim import Adam

from mlcode import MAML, Sinusoids, train
from mlcode.checkpoints import n_saved
from tests.helpers import same, seeded, smooth_net

HERE = os.getpid()


class Interrupted(Sinusoids):
    """Sends this process real signals while it draws a batch."""

    def sample(self, *arguments, **options):
        tasks = super().sample(*arguments, **options)
        self.drawn.append(None)
        for _ in range(self.signals.get(len(self.drawn), 0)):
            os.kill(HERE, signal.SIGINT)
        return tasks


def source(signals):
    """`signals[3] == 2`: two in the third iteration."""
    made = Interrupted(n_shot=3, n_query=3, dtype=torch.float64)
    object.__setattr__(made, "drawn", [])
    object.__setattr__(made, "signals", signals)
    return made


def run(signals, n_iterations=8, **more):
    torch.manual_seed(0)
    learner = MAML(smooth_net())
    optimizer = Adam(learner.parameters())
    settings = {"n_tasks": 2, "generator": seeded(1), "checkpoint_every": 5} | more
    drawn = source(signals)
    train(learner, drawn, n_iterations=n_iterations, optimizer=optimizer, **settings)
    return len(drawn.drawn)


@pytest.fixture(autouse=True)
def _ctrl_c_as_at_a_prompt():
    """The tests may themselves run in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "left as it was found"
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("iteration", [1, 3, 5, 6, 8])
def test_the_iteration_is_finished_and_saved(tmp_path, iteration):
    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        run({iteration: 1}, checkpoint=file)
    assert n_saved(file) == iteration


@pytest.mark.parametrize("iteration", [1, 3, 5, 7])
def test_the_run_goes_on_as_if_it_had_never_been_interrupted(tmp_path, iteration):
    whole, file = tmp_path / "whole.pt", tmp_path / "run.pt"
    run({}, checkpoint=whole)
    with pytest.raises(KeyboardInterrupt):
        run({iteration: 1}, checkpoint=file)
    assert run({}, checkpoint=file) == 8 - iteration
    assert same(torch.load(file), torch.load(whole))


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_last_save(tmp_path):
    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        run({7: 2}, checkpoint=file)
    assert n_saved(file) == 5


def test_without_a_checkpoint_there_is_nothing_to_wait_for():
    with pytest.raises(KeyboardInterrupt):
        run({3: 1})


def test_where_ctrl_c_is_ignored_it_stays_ignored(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run({3: 1}, checkpoint=tmp_path / "run.pt") == 8
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_training_runs_in_another_thread(tmp_path):
    """Where no handler may be set."""
    done = []
    thread = threading.Thread(target=lambda: done.append(run({}, checkpoint=tmp_path / "run.pt")))
    thread.start()
    thread.join()
    assert done == [8]
