"""Killed by the system at any moment, a run loses at most `checkpoint_every` iterations."""

import multiprocessing
import random
import time
from multiprocessing import forkserver

import pytest
import torch

from mlcode.checkpoints import read_checkpoint
from tests import killed_run
from tests.helpers import REPOSITORY, same

KILLS = 40


@pytest.fixture(scope="module")
def start():
    """Starts a run in a real process, forked from one that has imported the package."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([killed_run.__name__])
    with pytest.MonkeyPatch.context() as patch:  # older Pythons do not hand sys.path on
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        forkserver.ensure_running()

    def start(file, log):
        process = context.Process(target=killed_run.run, args=(file, log))
        process.start()
        return process

    return start


def n_drawn(log):
    return log.stat().st_size if log.exists() else 0


def kill_at_random(process, log, rng):
    """Send SIGKILL some batches and a fraction of an iteration after the start."""
    patience = rng.randrange(1, 12)
    while n_drawn(log) < patience and process.is_alive():
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, 0.01))
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="Windows")
@pytest.mark.timeout(300)
def test_a_run_killed_forty_times_ends_bit_for_bit_as_one_left_alone(start, tmp_path):
    whole, file, log = (tmp_path / name for name in ("whole.pt", "run.pt", "log"))
    undisturbed = start(whole, tmp_path / "whole.log")
    undisturbed.join()
    assert undisturbed.exitcode == 0

    rng, run, saved, lost = random.Random(1), killed_run.description(), 0, []
    for _ in range(KILLS):
        log.unlink(missing_ok=True)
        assert kill_at_random(start(file, log), log, rng), "it ended before it was killed"
        reached = saved + n_drawn(log)  # the iteration it was in, counted from 1
        if file.exists():
            saved = read_checkpoint(file, run)["history"].shape[1]
        lost.append(reached - saved)
    assert max(lost) <= killed_run.EVERY
    assert min(lost) >= 0
    assert 0 < saved < killed_run.END

    last = start(file, log)
    last.join()
    assert last.exitcode == 0
    assert same(torch.load(file), torch.load(whole))
