"""Frozen tasks: the same for all, and known by their content."""

import pytest
import torch
from hypothesis import given

from mlcode import Episodes, Examples, Glyphs, Sinusoids, Tasks
from mlcode.sources.characters import Characters
from mlcode.sources.frozen import FrozenTasks, digest, freeze, split_of
from tests.helpers import SEEDS, random_tasks, same, seeded


def episodes(split="test"):
    return Episodes(Glyphs(split), n_way=3, n_shot=1, n_query=2)


@given(seed=SEEDS)
def test_the_same_seed_gives_the_same_hash_and_another_seed_another(seed):
    one, again, other = (
        freeze(Sinusoids(), 5, generator=seeded(s)).digest for s in (seed, seed, seed + 1)
    )
    assert one == again != other


def test_the_hash_of_images_is_the_one_that_every_machine_finds():
    """Bytes times 1/255, chosen by integers and float64 keys: no processor has a choice."""
    ink = torch.arange(5 * 4 * 9, dtype=torch.int64).remainder(251).to(torch.uint8)
    characters = Characters(ink.view(5, 4, 3, 3), tuple("abcde"), "test")
    source = Episodes(characters, n_way=3, n_shot=1, n_query=2)
    assert freeze(source, 4, generator=seeded(7)).digest == "59d6ffcd9b749621"


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_one_changed_number_changes_the_hash(place):
    tasks = random_tasks(3, 2, 2, (1, 4, 4), (), classes=2)
    before, tensor = digest(tasks), tasks[place[0]][place[1]]
    last = (-1,) * tensor.ndim
    tensor[last] = tensor[last] + (1 if tensor.dtype == torch.long else 2**-40)
    assert digest(tasks) != before


def test_order_shape_and_dtype_are_part_of_the_hash():
    tasks = random_tasks(2, 2, 2, (4,), (1,))
    reshaped = Tasks(*(Examples(part.x.view(2, 2, 2, 2), part.y) for part in tasks))
    swapped = Tasks(tasks.query, tasks.support)
    cast = tasks.to(dtype=torch.float32)
    others = [digest(x) for x in (reshaped, swapped, cast, tasks.select(torch.tensor([1, 0])))]
    assert len({digest(tasks), *others}) == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tasks_of_any_dtype_have_a_hash(dtype):
    assert len(digest(random_tasks(2, 2, 2, (4,), (1,)).to(dtype=dtype))) == 16


def test_frozen_tasks_are_a_source_that_gives_the_first_of_them():
    frozen = freeze(Sinusoids(), 6, generator=seeded(0))
    assert len(frozen) == 6
    assert same(frozen.sample(2, generator=seeded(9)), frozen.tasks.select(slice(0, 2)))


def test_frozen_tasks_are_a_copy():
    tasks = random_tasks(3, 2, 2, (4,), (1,))
    frozen = FrozenTasks(tasks)
    tasks.query.x.zero_()
    frozen.check_unchanged("nobody")
    frozen.tasks.query.x.zero_()
    with pytest.raises(ValueError, match="a vandal wrote into the tasks"):
        frozen.check_unchanged("a vandal")


def test_the_split_is_that_of_the_characters():
    assert split_of(episodes("validation")) == "validation"
    assert freeze(episodes("test"), 2, generator=seeded(0)).split == "test"
    assert split_of(freeze(episodes("train"), 2, generator=seeded(0))) == "train"
    assert split_of(Sinusoids()) is None
    assert split_of("a string has a method called split") is None


@pytest.mark.parametrize(("n_tasks", "says"), [(0, "at least 1; got 0"), (4, "there are 3 frozen")])
def test_more_tasks_than_there_are_or_none_are_refused(n_tasks, says):
    with pytest.raises(ValueError, match=says):
        FrozenTasks(random_tasks(3, 2, 2, (4,), (1,))).sample(n_tasks)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_tasks_cannot_be_frozen():
    with pytest.raises(TypeError, match=r"expected Tasks\(support=Examples"):
        FrozenTasks([1, 2])
