"""The real data, loaded once. Where they are absent, the tests that need them say so and rest."""

import hashlib
import io
import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from mlcode import Omniglot
from mlcode.sources import omniglot as module
from mlcode.sources.omniglot_splits import SPLITS, characters

COUNTS = {"train": 1028, "validation": 172, "trainval": 1200, "test": 423}
COUNTS |= {"background": 964, "evaluation": 659}

# SHA-256 of the bytes of `images`, to notice a change of Pillow or of ours.
IMAGES = {
    "background": "290da4d37c3c667c7cbdca177891fc2e505d26fec1123182f8d90d41c965743a",
    "evaluation": "6047e0131bd33fb3595702f3fa8a085be4ed80eeafed86ffbe4f0b25d1c0ccf2",
}


def alphabets(names):
    return {name.split("/")[0] for name in names}


def names_in(split):
    return [c.name for c in characters() if split in (c.split, c.archive)]


def png(data, name):
    """One drawing of the archives, as Pillow opens it."""
    part = name.split("/")[0]
    with zipfile.ZipFile(data / "omniglot" / f"{part}.zip") as archive:
        return Image.open(io.BytesIO(archive.read(f"{name}.png")))


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_has_its_number_of_characters_with_twenty_drawings(omniglot, split):
    source = omniglot[split]
    assert len(source) == len(source.names) == len(set(source.names)) == COUNTS[split]
    assert source.images.shape == (COUNTS[split], 20, 28, 28)
    assert source.images.dtype == torch.uint8
    assert source.split == split


@pytest.mark.parametrize("part", IMAGES)
def test_the_images_are_the_same_everywhere(omniglot, part):
    assert hashlib.sha256(omniglot[part].images.numpy()).hexdigest() == IMAGES[part]


def test_train_validation_and_test_share_no_character_and_are_all_of_omniglot(omniglot):
    train, validation, test = (set(omniglot[s].names) for s in ("train", "validation", "test"))
    assert train | validation == set(omniglot["trainval"].names)
    assert len(train | validation | test) == len(train) + len(validation) + len(test) == 1623
    both = set(omniglot["background"].names) | set(omniglot["evaluation"].names)
    assert both == train | validation | test


def test_only_gurmukhi_is_in_train_and_in_test_and_the_authors_split_shares_no_alphabet():
    parts = ("train", "validation", "test")
    train, validation, test = (alphabets(names_in(part)) for part in parts)
    assert train & test == {"Gurmukhi"}
    assert train & validation == validation & test == set()
    assert alphabets(names_in("background")) & alphabets(names_in("evaluation")) == set()


@pytest.mark.parametrize(
    ("file", "split"), [("train", "train"), ("val", "validation"), ("test", "test")]
)
def test_the_list_is_the_published_one(data, file, split):
    folder = data / "splits" / "omniglot_vinyals"
    if not folder.is_dir():
        pytest.skip("the published lists are not beside the data")
    lines = (folder / f"{file}.txt").read_text().split()
    assert sorted({line.rsplit("/", 1)[0] for line in lines}) == names_in(split)
    assert len(lines) == 4 * COUNTS[split]


def test_names_are_in_order_and_of_the_form_alphabet_and_character():
    names = [c.name for c in characters()]
    assert names == sorted(names)
    assert all(re.fullmatch(r"[^/ ]+/character\d\d", name) for name in names)
    assert len(names) == 1623
    assert len(alphabets(names)) == 50


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_a_character_is_the_same_in_either_split(omniglot, split):
    source = omniglot[split]
    for part in ("background", "evaluation"):
        row = {name: i for i, name in enumerate(omniglot[part].names)}
        both = [name for name in source.names if name in row]
        here = source.images[[source.names.index(name) for name in both]]
        assert torch.equal(here, omniglot[part].images[[row[name] for name in both]])


@pytest.mark.parametrize(
    ("part", "name", "row"),
    [
        ("background", "images_background/Alphabet_of_the_Magi/character01/0709_01", (0, 0)),
        ("background", "images_background/Tifinagh/character55/0964_20", (963, 19)),
        ("evaluation", "images_evaluation/Angelic/character01/0965_01", (0, 0)),
        ("evaluation", "images_evaluation/ULOG/character26/1623_20", (658, 19)),
    ],
)
def test_a_drawing_is_what_pillow_makes_of_its_one_bit_file(omniglot, data, part, name, row):
    original = png(data, name)
    assert original.mode == "1"
    for filter_ in (Image.Resampling.NEAREST, Image.Resampling.LANCZOS):  # of one bit: the same
        resized = np.asarray(original.resize((28, 28), filter_))
        assert np.array_equal(omniglot[part].images[row].numpy(), 255 * ~resized)


def test_ink_is_255_on_paper_0_and_covers_a_twelfth(omniglot):
    images = omniglot["train"].images
    assert images.unique().tolist() == [0, 255]
    assert 0.07 < float(images.float().mean()) / 255 < 0.09
    border = torch.cat([images[..., 0, :], images[..., -1, :]]).float().mean() / 255
    assert float(border) < 0.01
    assert bool(images.flatten(2).any(dim=2).all()), "a drawing without ink"


def test_the_pair_that_is_identical_in_the_original_is_identical_here(omniglot, data):
    pair = [png(data, f"images_background/Braille/character01/0192_{n}") for n in ("03", "19")]
    assert pair[0].tobytes() == pair[1].tobytes()
    source = omniglot["background"]
    braille = source.images[source.names.index("Braille/character01")]
    assert torch.equal(braille[2], braille[18])
    assert not torch.equal(braille[2], braille[3])


def test_nearest_commutes_with_a_quarter_turn_as_the_docstring_says(omniglot, data):
    name = "images_background/Greek/character04/0397_05"
    original = png(data, name).transpose(Image.Transpose.ROTATE_90)
    turned_first = 255 * ~np.asarray(original.resize((28, 28)))
    source = omniglot["background"]
    here = source.images[source.names.index("Greek/character04"), 4].numpy()
    assert np.array_equal(np.rot90(here), turned_first)


def test_all_images_take_under_five_seconds_from_the_archives_and_half_a_second_from_the_cache(
    omniglot_and_seconds,
):
    from_archives, from_cache = omniglot_and_seconds[1]
    assert from_archives < 5
    assert from_cache < 0.5


def test_lanczos_has_the_greys_that_pillow_gives_an_image_of_greys(data, own_cache, monkeypatch):
    monkeypatch.setenv("MLCODE_DATA", str(data))
    source = Omniglot("test", resampling="lanczos")
    name = "images_evaluation/ULOG/character26/1623_20"
    ink = Image.fromarray(np.uint8(255) * ~np.asarray(png(data, name)))
    expected = np.asarray(ink.resize((28, 28), Image.Resampling.LANCZOS))
    assert np.array_equal(source.images[source.names.index("ULOG/character26"), 19], expected)
    assert len(source.images.unique()) > 200
    assert repr(source) == "Omniglot('test', resampling='lanczos')"


def test_its_text_names_the_split(omniglot):
    assert [repr(source) for source in omniglot.values()] == [f"Omniglot({s!r})" for s in omniglot]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tests"}, "split must be one of 'train', .* got 'tests'. Did you mean 'test'?"),
        ({"split": "valid"}, "got 'valid'. Did you mean 'validation'?"),
        (
            {"split": "train", "resampling": "lanczosh"},
            "resampling must be one of 'nearest', 'lanczos'; .* Did you mean 'lanczos'?",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one_before_anything_is_read(
    arguments, message, monkeypatch
):
    monkeypatch.setattr(module, "_images", None)
    with pytest.raises(ValueError, match=message):
        Omniglot(**arguments)
