import math

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import booleans, integers, lists, sampled_from

from mlcode import Episodes
from mlcode.sources import characters
from mlcode.sources.characters import Characters
from tests.helpers import SEEDS, same, seeded

WAYS, SHOTS, QUERIES = integers(2, 20), integers(1, 5), integers(1, 5)
ANGLES = lists(sampled_from((0, 90, 180, 270)), min_size=1, unique=True)
N_CHARACTERS, N_DRAWINGS = 20, 10


def numbered(n_characters=N_CHARACTERS, n_drawings=N_DRAWINGS, height=2, width=2):
    """Images that say which they are: character, drawing, 255 and 0, read clockwise."""
    images = torch.zeros(n_characters, n_drawings, height, width, dtype=torch.uint8)
    images[:, :, 0, 0] = torch.arange(n_characters)[:, None]
    images[:, :, 0, 1] = torch.arange(n_drawings)
    images[:, :, 1, 1] = 255
    return Characters(images, tuple(f"A/{i}" for i in range(n_characters)), "numbered")


def coloured(ink):
    """The same as photographs: what is red in them says which they are, green and blue are flat."""
    red = ink.images[:, :, None]
    images = torch.cat([red, torch.full_like(red, 100), torch.full_like(red, 200)], 2)
    return Characters(images, ink.names, "coloured")


CHARACTERS = numbered()
PHOTOGRAPHS = coloured(CHARACTERS)
KINDS = sampled_from((CHARACTERS, PHOTOGRAPHS))


def read(x):
    """Character, drawing and angle of every image, out of the pixels of its first channel."""
    corners = (x * 255).round().long()[..., 0, [0, 0, 1, 1], [0, 1, 1, 0]]  # clockwise
    # Turned anticlockwise by k quarters, the corner 255, number 2 of 4, is number 2 - k.
    quarters = (2 - corners.argmax(-1)) % 4
    back = (torch.arange(4) - quarters[..., None]) % 4
    return *corners.gather(-1, back)[..., :2].unbind(-1), 90 * quarters


def classes(examples):
    """Character and angle of every example, as one number."""
    character, _, angle = read(examples.x)
    return character * 360 + angle


def episodes(n_way, n_shot, n_query, seed, n_tasks=4, of=CHARACTERS, **settings):
    source = Episodes(of, n_way, n_shot, n_query, **settings)
    return source.sample(n_tasks, generator=seeded(seed))


@given(n_way=WAYS, n_shot=SHOTS, n_query=QUERIES, seed=SEEDS, n_tasks=integers(1, 5), of=KINDS)
def test_shapes_are_task_example_channel_height_width(n_way, n_shot, n_query, seed, n_tasks, of):
    support, query = episodes(n_way, n_shot, n_query, seed, n_tasks, of)
    n_channels = 1 if of is CHARACTERS else 3
    for part, each in ((support, n_shot), (query, n_query)):
        assert part.x.shape == (n_tasks, n_way * each, n_channels, 2, 2)
        assert part.y.shape == (n_tasks, n_way * each)
        assert part.x.dtype == torch.float32
        assert part.y.dtype == torch.int64


@given(n_way=WAYS, n_shot=SHOTS, n_query=QUERIES, seed=SEEDS, rotations=ANGLES, of=KINDS)
def test_each_label_stands_for_one_class_of_its_task_and_no_class_has_two(
    n_way, n_shot, n_query, seed, rotations, of
):
    tasks = episodes(n_way, n_shot, n_query, seed, of=of, rotations=rotations)
    named = torch.cat([classes(part) for part in tasks], 1)
    labels = torch.cat([part.y for part in tasks], 1)
    assert torch.equal(named[:, :, None] == named[:, None], labels[:, :, None] == labels[:, None])


@given(n_way=WAYS, n_shot=SHOTS, n_query=QUERIES, seed=SEEDS, rotations=booleans())
def test_each_label_is_there_as_often_as_it_was_asked_for(n_way, n_shot, n_query, seed, rotations):
    tasks = episodes(n_way, n_shot, n_query, seed, rotations=rotations)
    for part, each in zip(tasks, (n_shot, n_query)):
        expected = torch.arange(n_way).repeat_interleave(each).expand_as(part.y)
        assert torch.equal(part.y.sort(-1).values, expected)


@given(n_way=WAYS, n_shot=SHOTS, n_query=QUERIES, seed=SEEDS, rotations=ANGLES, of=KINDS)
def test_no_image_is_in_a_task_twice_so_no_query_is_in_the_support(
    n_way, n_shot, n_query, seed, rotations, of
):
    tasks = episodes(n_way, n_shot, n_query, seed, of=of, rotations=rotations)
    images = torch.cat([classes(p) * N_DRAWINGS + read(p.x)[1] for p in tasks], 1)
    assert all(len(task.unique()) == len(task) for task in images)


@given(n_way=WAYS, n_shot=SHOTS, n_query=QUERIES, seed=SEEDS, rotations=ANGLES, of=KINDS)
def test_images_are_turned_by_the_angles_asked_for_and_no_other(
    n_way, n_shot, n_query, seed, rotations, of
):
    tasks = episodes(n_way, n_shot, n_query, seed, of=of, rotations=rotations)
    assert {int(angle) for part in tasks for angle in read(part.x)[2].unique()} <= set(rotations)


def test_turning_is_anticlockwise():
    turned = episodes(2, 1, 1, seed=0, rotations=(90,)).query.x[0, 0, 0] * 255
    assert turned[1, 1] == 0  # below right was 255, which is now above right
    assert turned[0, 1] == 255


def test_rotations_are_further_classes():
    assert Episodes(CHARACTERS, 2, 1, 1).n_classes == 20
    assert Episodes(CHARACTERS, 2, 1, 1, rotations=True).n_classes == 80
    support = episodes(80, 1, 1, seed=0, rotations=True).support
    assert all(len(task.unique()) == 80 for task in classes(support))


@given(n_way=WAYS, seed=SEEDS, rotations=booleans())
def test_one_seed_gives_the_same_tasks(n_way, seed, rotations):
    first, second = (episodes(n_way, 2, 3, seed, rotations=rotations) for _ in range(2))
    assert same(first, second)


def test_sampling_leaves_the_global_generator_alone_and_advances_its_own():
    before, generator, source = torch.get_rng_state(), seeded(0), Episodes(CHARACTERS, 5, 1, 2)
    first, second = (source.sample(2, generator=generator) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert not same(first, second)


def chi_squared(counts):
    expected = counts.double().mean()
    return float(((counts - expected) ** 2).sum() / expected)


@pytest.mark.parametrize("part", ["support", "query"])
def test_every_class_label_drawing_and_position_is_equally_likely_together(part):
    n_way, each, n_tasks = 4, 2, 20_000
    examples = getattr(episodes(n_way, each, each, seed=3, n_tasks=n_tasks), part)
    character, drawing, _ = read(examples.x)
    position = torch.arange(n_way * each).expand_as(examples.y)
    for a, n in ((character, N_CHARACTERS), (drawing, N_DRAWINGS), (position, n_way * each)):
        counts = (a * n_way + examples.y).flatten().bincount(minlength=n * n_way)
        degrees = n * n_way - 1
        # Draws of one task repel one another, so that the statistic is, if anything, smaller.
        assert chi_squared(counts) < degrees + 5 * math.sqrt(2 * degrees)


@given(seed=SEEDS)
def test_ink_is_one_and_paper_zero_in_the_dtype_asked_for(seed):
    for dtype in (torch.float64, torch.float32, torch.float16):
        x = episodes(5, 1, 1, seed, dtype=dtype).query.x
        assert x.dtype == dtype
        assert float(x.max()) == 1
        assert float(x.min()) == 0


def test_the_images_stay_bytes_and_are_not_copied_without_rotations():
    source = Episodes(CHARACTERS, 5, 1, 1)
    source.sample(1)
    assert [kept.dtype for kept in source._kept.values()] == [torch.uint8]
    (kept,) = source._kept.values()
    assert kept.data_ptr() == CHARACTERS.images.data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_one_seed_gives_the_same_tasks_on_a_gpu():
    source = Episodes(CHARACTERS, 5, 1, 5, rotations=True)
    cpu, gpu = (source.sample(8, generator=seeded(1), device=where) for where in ("cpu", "cuda"))
    assert gpu.query.x.is_cuda
    assert same(cpu, gpu.to("cpu"))


def test_it_is_shown_without_pixels():
    assert repr(Episodes(CHARACTERS, rotations=[0, 90], n_query=1)) == (
        "Episodes(characters=Characters('numbered'), n_way=5, n_shot=1, n_query=1, "
        "rotations=(0, 90), dtype=None)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_way": 1}, "n_way must be at least 2; got 1"),
        ({"n_shot": 0}, "n_shot must be at least 1; got 0"),
        ({"n_query": 0}, "n_query must be at least 1; got 0"),
        (
            {"n_way": 21},
            r"21-way tasks need 21 classes; Characters\('numbered'\) has 20. Use n_way <= 20.",
        ),
        (
            {"n_way": 41, "rotations": (0, 180)},
            r"Characters\('numbered'\) has 20 in 2 rotations. Use n_way <= 40.",
        ),
        (
            {"n_query": 10},
            r"5-way tasks with 1 support and 10 query drawings a class need 11 drawings of each "
            r"class; Characters\('numbered'\) has 10. Use n_query <= 9.",
        ),
        ({"n_shot": 10}, r"has 10. Use n_shot \+ n_query <= 10."),
        ({"rotations": ()}, r"rotations must be True, False or some of .* got \(\)"),
        ({"rotations": (0, 45)}, r"rotations must be .* got \(0, 45\)"),
        ({"rotations": (90, 90)}, r"none twice; got \(90, 90\)"),
        ({"rotations": (-90,)}, "an angle of rotations must be at least 0; got -90"),
    ],
)
def test_impossible_settings_are_refused_by_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        Episodes(CHARACTERS, **{"n_query": 1} | arguments)


def test_only_square_images_can_be_turned_by_a_quarter():
    oblong = numbered(height=2, width=3)
    assert Episodes(oblong, n_query=1, rotations=(0, 180)).sample(1).query.x.shape[-2:] == (2, 3)
    with pytest.raises(ValueError, match=r"has 2 x 3. Use rotations=False."):
        Episodes(oblong, n_query=1, rotations=True)


@pytest.mark.usefixtures("unchecked")
def test_settings_of_a_wrong_type_are_refused_by_type():
    with pytest.raises(TypeError, match=r"characters must be Characters, .* got Tensor"):
        Episodes(CHARACTERS.images)
    with pytest.raises(TypeError, match=r"n_way must be an integer; got 5.0 \(float\)"):
        Episodes(CHARACTERS, 5.0, n_query=1)
    with pytest.raises(TypeError, match=r"an angle of rotations must be an integer; got 90.0"):
        Episodes(CHARACTERS, n_query=1, rotations=(90.0,))
    with pytest.raises(TypeError, match=r"n_tasks must be an integer; got '3' \(str\)"):
        Episodes(CHARACTERS, n_query=1).sample("3")


@given(seed=SEEDS, rotations=booleans())
def test_photographs_keep_their_three_colours_in_order(seed, rotations):
    for part in episodes(5, 1, 3, seed, of=PHOTOGRAPHS, rotations=rotations):
        green_and_blue = (part.x * 255).round()[:, :, 1:].flatten(3).unique(dim=-1)
        assert torch.equal(green_and_blue[0, 0, :, 0], torch.tensor([100.0, 200.0]))
        assert torch.equal(green_and_blue, green_and_blue[:1, :1].expand_as(green_and_blue))


@given(seed=SEEDS, n_tasks=integers(1, 4), in_cache=integers(1, 100), of=KINDS)
def test_in_however_many_parts_images_are_converted_they_are_the_same(seed, n_tasks, in_cache, of):
    whole = episodes(5, 1, 3, seed, n_tasks, of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(characters, "IN_CACHE", in_cache)
        assert same(episodes(5, 1, 3, seed, n_tasks, of), whole)


@pytest.mark.parametrize("n_way", [2, 3, 5])
def test_every_order_of_classes_is_equally_likely(n_way):
    """With 2 of 5 classes, repeats are drawn again; with 3 and all 5, classes are shuffled."""
    of = numbered(n_characters=5)
    tasks = episodes(n_way, 1, 1, seed=5, n_tasks=24_000, of=of)
    by_label = read(tasks.support.x)[0].gather(1, tasks.support.y.argsort(1))
    number = (by_label * 5 ** torch.arange(n_way)).sum(1)
    counts = number.bincount()[number.unique()]
    n_orders = math.perm(5, n_way)
    assert len(counts) == n_orders
    assert chi_squared(counts) < n_orders - 1 + 5 * math.sqrt(2 * (n_orders - 1))


@given(n_way=WAYS, seed=SEEDS)
def test_a_sample_is_its_classes_and_then_their_tasks(n_way, seed):
    source, draw = Episodes(CHARACTERS, n_way, 1, 1), seeded(seed)
    tasks = source.tasks_of(source.draw_classes(3, generator=draw), generator=draw)
    assert same(tasks, source.sample(3, generator=seeded(seed)))


@given(seed=SEEDS, order=sampled_from([[3, 1, 7], [7, 3, 1]]))
def test_tasks_of_given_classes_show_these_and_call_the_first_0(seed, order):
    tasks = Episodes(CHARACTERS, 3, 1, 2).tasks_of(torch.tensor([order]), generator=seeded(seed))
    for part in tasks:
        assert read(part.x)[0].tolist() == [[order[label] for label in part.y[0].tolist()]]


@pytest.mark.parametrize("row", [[0, 1], [0, 0, 1], [0, 1, 20], [-1, 0, 1]])
def test_classes_that_make_no_task_are_refused(row):
    with pytest.raises(ValueError, match="rows of 3 different classes from 0 to 19"):
        Episodes(CHARACTERS, 3, 1, 2).tasks_of(torch.tensor([row]))
