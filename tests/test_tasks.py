import torch

from mlcode import Examples, LinearFunctions, Sinusoids, Tasks, TaskSource
from tests.helpers import random_tasks


def test_moving_tasks_casts_floating_point_and_leaves_class_labels_integers():
    tasks = random_tasks(2, 3, 4, (5,), (), classes=3).to(dtype=torch.float32)
    assert {part.x.dtype for part in tasks} == {torch.float32}
    assert {part.y.dtype for part in tasks} == {torch.int64}


def test_moving_tasks_moves_all_four_tensors():
    tasks = random_tasks(2, 3, 4, (5,), (), classes=3).to("meta")
    assert {t.device.type for part in tasks for t in part} == {"meta"}


def test_selecting_an_index_gives_one_task_and_a_slice_gives_a_batch():
    tasks = random_tasks(4, 2, 3, (5,), (1,))
    one, batch = tasks.select(2), tasks.select(slice(1, 3))
    assert torch.equal(one.support.x, tasks.support.x[2])
    assert torch.equal(one.query.y, tasks.query.y[2])
    assert isinstance(one.support, Examples)
    assert batch.n_tasks == 2
    assert torch.equal(batch.query.x, tasks.query.x[1:3])


def test_selecting_a_permutation_keeps_each_support_set_with_its_queries():
    tasks = random_tasks(4, 2, 3, (5,), (1,))
    order = torch.tensor([3, 1, 0, 2])
    for new, old in enumerate(order):
        for part, original in zip(tasks.select(order), tasks):
            assert torch.equal(part.x[new], original.x[old])
            assert torch.equal(part.y[new], original.y[old])


def test_every_source_is_a_task_source_and_gives_tasks():
    for source in (Sinusoids(), LinearFunctions()):
        assert isinstance(source, TaskSource)
        assert isinstance(source.sample(2), Tasks)
        assert source.sample(7).n_tasks == 7
