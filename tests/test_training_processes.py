"""Two processes on the CPU, started as a reader would start them, do what one does."""

import json

import numpy as np
import pytest

from tests.helpers import REPOSITORY, python

SCRIPT = REPOSITORY / "tests" / "two_processes.py"


def results(folder, *launcher):
    """Run the script and return what each process found."""
    done = python(*launcher, SCRIPT, folder, timeout=240, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    (found,) = results(tmp_path_factory.mktemp("one"))
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    found = results(tmp_path_factory.mktemp("two"), *torchrun)
    assert len(found) == 2
    return found


def close(a, b):
    return np.abs(np.array(a) - np.array(b)).max() < 1e-12


def test_two_processes_reach_the_weights_of_one_with_the_same_tasks(one, two):
    for process in two:
        assert close(process["whole"]["weights"], one["whole"]["weights"])
        assert close(process["whole"]["loss"], one["whole"]["loss"])
    assert len(one["whole"]["loss"]) == 8


def test_processes_agree_with_each_other_exactly(two):
    assert two[0]["whole"] == two[1]["whole"]


def test_processes_stop_and_go_on_bit_for_bit(one, two):
    assert all(process["resumed"] == process["whole"] for process in (one, *two))


def test_a_compiled_learner_trains_in_two_processes(one, two):
    for process in two:
        assert close(process["traced"]["loss"], one["whole"]["loss"][:4])


def test_without_a_generator_all_processes_draw_the_first_ones_tasks(one, two):
    for process in two:
        assert close(process["unseeded"]["weights"], one["unseeded"]["weights"])


def test_a_loss_that_is_not_finite_in_one_process_stops_both_and_names_the_task(two):
    for process in two:
        assert "iteration 2: the loss of task(s) 5 of the batch is not finite" in process["spoiled"]


def test_tasks_that_do_not_divide_by_the_processes_are_refused(two):
    for process in two:
        assert "n_tasks must be a multiple of the number of processes" in process["odd"]
        assert "got 7 tasks for 2 processes" in process["odd"]


def test_an_accelerator_that_knows_of_one_process_only_is_refused(two):
    for process in two:
        assert "one of 2 processes, but the accelerator knows of one only" in process["apart"]


def test_processes_that_do_not_see_the_same_checkpoint_are_refused(two):
    for process in two:
        assert "begin at different iterations: [8, 0]" in process["elsewhere"]


def test_one_compiled_graph_is_for_one_process(two):
    for process in two:
        assert "compiled=True is for one process" in process["compiled"]
