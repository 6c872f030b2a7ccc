"""Archives of two characters of noise, taken for the author's, and what may be wrong with them."""

import hashlib
import io
import random
import zipfile

import numpy as np
import pytest
from PIL import Image

from mlcode.sources import omniglot_archives as archives

NAMES = ["Anglo/character01", "Anglo/character02"]


def png(seed, mode="1", size=(105, 105)):
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def drawings():
    """A small archive: two characters of noise."""
    return {
        f"images_background/{name}/{number:04}_{k:02}.png": png(20 * number + k)
        for number, name in enumerate(NAMES)
        for k in range(1, 21)
    }


def pack(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return file.getvalue()


def read(files):
    packed = pack(files) if isinstance(files, dict) else files
    return archives.read_archive(packed, "background", NAMES, "nearest")


@pytest.fixture
def small(monkeypatch):
    """The small archive's drawings, taken for the author's."""
    pixels = hashlib.sha256()
    for content in drawings().values():
        pixels.update(Image.open(io.BytesIO(content)).tobytes())
    monkeypatch.setitem(archives.DIGESTS, "background", pixels.hexdigest())
    return drawings()


def test_packed_again_in_another_order_with_folders_and_clutter_it_gives_the_same(small):
    items = list(small.items())
    random.Random(0).shuffle(items)
    folders = {"images_background/": b"", "images_background/Anglo/": b""}
    clutter = {"__MACOSX/images_background/._Anglo": b"x", "images_background/.DS_Store": b"x"}
    assert read(folders | dict(items) | clutter) == read(small)
    assert len(read(small)) == 2 * 20 * 28 * 28


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "images_background/../../a.png", "C:/a.png", "a\\..\\b.png"]
)
def test_a_name_that_points_outside_is_refused(small, name):
    with pytest.raises(ValueError, match="which points outside of the archive"):
        read(small | {name: b""})


def test_reading_leaves_no_file_behind(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read(small)
    assert list(tmp_path.rglob("*")) == []


def test_another_pixel_is_noticed(small):
    name = next(iter(small))
    with pytest.raises(ValueError, match="its drawings are not the author's: expected the digest"):
        read(small | {name: png(99)})


def test_two_drawings_in_each_others_place_are_noticed(small):
    first, second, *_ = small
    with pytest.raises(ValueError, match="its drawings are not the author's"):
        read(small | {first: small[second], second: small[first]})


def test_a_missing_drawing_is_named_with_its_character(small):
    small.popitem()
    with pytest.raises(
        ValueError,
        match="expected 20 drawings of each of 2 characters, got 39 of 2; "
        "the first that differs is Anglo/character02, 19 drawings",
    ):
        read(small)


def test_a_character_too_many_is_named(small):
    with pytest.raises(ValueError, match=r"got 41 of 3; .* is Zulu/character01, 1 drawings"):
        read(small | {"images_background/Zulu/character01/0009_01.png": png(0)})


def test_a_drawing_that_was_changed_and_packed_again_is_refused_or_gives_the_same(small):
    name, rng, right = next(iter(small)), random.Random(5), read(small)
    refused = 0
    for _ in range(60):
        damaged = bytearray(small[name])
        for _ in range(rng.randrange(1, 5)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            assert read(small | {name: bytes(damaged)}) == right
        except ValueError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(0, mode="L"), "must have one bit a pixel .* it has the mode 'L' and 105 × 105"),
        (png(0, size=(104, 105)), "it has the mode '1' and 104 × 105"),
        (bytes(20_000), "has 20000 bytes, too many for a drawing"),
        (b"no image", "the archive is damaged .*cannot identify image"),
        (png(0)[:200], "the archive is damaged"),
        (png(0)[:16] + b"\xff" * 8 + png(0)[24:], "the archive is damaged"),  # of vast size
    ],
)
def test_a_file_that_is_no_drawing_is_refused(small, content, message):
    name = next(iter(small))
    with pytest.raises(ValueError, match=message):
        read(small | {name: content})


def test_truncated_anywhere_or_with_any_byte_flipped_it_is_refused_or_gives_the_same(small):
    whole, right, rng = pack(small), read(small), random.Random(3)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        if rng.random() < 0.5:
            del damaged[rng.randrange(len(whole)) :]
        else:
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        try:
            assert read(bytes(damaged)) == right  # a time stamp, or the like
        except ValueError:
            refused += 1
    assert refused > 50
