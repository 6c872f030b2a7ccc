import hashlib
import random
import time
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFont

from mlcode import Episodes, Glyphs
from mlcode.sources import glyph_shapes
from mlcode.sources import glyphs as module
from tests import killed_glyphs
from tests.helpers import python, seeded
from tools import glyph_classes

CODES = [(a, code) for a in module.CODES for code in module.code_points(a)]
KILLS = 8


@cache
def font(face):
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
    return ImageFont.truetype(str(path), 160, layout_engine=ImageFont.Layout.BASIC)


def rendered(code, face=None):
    """A character by Pillow, from the font to its ink, without the package's rendering."""
    mask = font(face or glyph_shapes.face_of(code)).getmask(chr(code), mode="L")
    ink = np.asarray(mask, dtype=np.uint8).reshape(mask.size[::-1])
    if not ink.any():  # STIX leaves a missing character blank
        return np.zeros((1, 1), dtype=np.uint8)
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def at_one_size(ink, longest=28, side=36):
    """Scaled until its longer side has `longest` pixels, in the middle of a square."""
    scale = longest / max(ink.shape)
    height, width = (max(1, round(scale * n)) for n in ink.shape)
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.BOX)
    square[top : top + height, left : left + width] = np.asarray(small)
    return torch.from_numpy(square >= 128)


def pairs_alike(codes):
    """Pairs each of which covers the other, once it is made one pixel of 28 broader all around."""
    ink = torch.stack([at_one_size(rendered(code)) for code in codes]).float()
    broader = F.max_pool2d(ink[:, None], 3, stride=1, padding=1).flatten(1)
    bare = ink.flatten(1) @ (1 - broader).T
    first, second = ((bare + bare.T) == 0).triu(1).nonzero().T
    return {(chr(codes[i]), chr(codes[j])) for i, j in zip(first, second)}


def test_there_are_over_a_thousand_characters_with_twenty_drawings_of_28_by_28(glyphs):
    assert sum(map(len, glyphs.values())) > 1000
    for split, source in glyphs.items():
        assert source.images.shape == (len(source), 20, 28, 28)
        assert source.images.dtype == torch.uint8
        assert len(source.names) == len(set(source.names)) == len(source) >= 100
        assert repr(source) == f"Glyphs('{split}')"


def test_there_are_more_than_twelve_scripts_and_no_script_is_in_two_splits(glyphs):
    scripts = [name for source in glyphs.values() for name in source.alphabets]
    assert len(scripts) == len(set(scripts)) > 12
    assert all(len(source.alphabets) >= 3 for source in glyphs.values())
    assert set(scripts) == set(module.CODES)


def test_a_name_is_a_script_and_a_code_point_that_unicode_counts_to_it(glyphs):
    assert "Ogham/U+1681" in glyphs["train"].names
    for source in glyphs.values():
        for name in source.names:
            script, code = name.split("/U+")
            assert unicodedata.name(chr(int(code, 16))).startswith(f"{script.upper()} ")


def test_no_two_characters_look_alike():
    # The choice compared the middles of strokes, by 1.1 pixels of 20. This is another comparison,
    # of another rendering, at another size; its one pixel of 28 is 0.7 of 20.
    assert pairs_alike([code for _, code in CODES]) == set()


def test_that_comparison_finds_letters_known_to_look_alike():
    known = {("C", "c"), ("S", "s"), ("O", "o"), ("V", "v"), ("A", "А"), ("A", "Α"), ("e", "е")}
    codes = sorted({ord(char) for pair in known for char in pair})
    assert known <= pairs_alike(codes)
    assert pairs_alike([ord(char) for char in "AEFHKLMNTagk"]) == set()


@pytest.mark.parametrize(
    "alike",
    ["AАΑᎪ", "CcСсϹ", "KКкĸκ", "OoОоΟοՕօ", "PpРрΡρ", "SsЅѕՏ", "UuՍ", "XxХхΧχ", "IІΙӀ", "Ѡѡω"],
)
def test_of_letters_that_a_person_calls_alike_there_is_one_at_most(alike):
    assert sum(chr(code) in alike for _, code in CODES) <= 1


def test_no_character_is_the_box_of_a_missing_one():
    missing = {face: rendered(0x378, face) for face in glyph_shapes.FACES}  # no such character
    for _, code in CODES:
        face = glyph_shapes.face_of(code)
        assert face is not None
        assert not np.array_equal(rendered(code, face), missing[face])


def test_every_drawing_has_ink_and_none_is_cut_off(glyphs):
    for source in glyphs.values():
        ink = source.images.float() / 255
        assert float(ink.sum((-2, -1)).min()) > 8  # pixels
        assert float(ink.amax((-2, -1)).min()) > 0.9
        inside = F.pad(torch.ones(26, 26), (1, 1, 1, 1))
        assert float((ink * (1 - inside)).max()) == 0


def test_no_two_drawings_are_the_same(glyphs):
    drawings = torch.cat([source.images.flatten(2).flatten(0, 1) for source in glyphs.values()])
    assert len({row.tobytes() for row in drawings.numpy()}) == len(drawings)


def test_drawings_of_a_character_resemble_one_another_but_pixels_alone_do_not_settle_it(glyphs):
    tasks = Episodes(glyphs["test"], 5, 1, 5).sample(300, generator=seeded(0))
    distance = torch.cdist(tasks.query.x.flatten(2), tasks.support.x.flatten(2))
    nearest = tasks.support.y.gather(1, distance.argmin(-1))
    accuracy = float((nearest == tasks.query.y).float().mean())
    assert 0.4 < accuracy < 0.7  # chance is 0.2


def test_another_process_makes_the_same_bytes_and_loads_matplotlib_only_then(glyphs, tmp_path):
    program = "import hashlib, sys, mlcode; assert 'matplotlib' not in sys.modules; "
    program += "g = mlcode.Glyphs('validation'); assert 'matplotlib.pyplot' not in sys.modules; "
    program += "print(hashlib.sha256(g.images.numpy().tobytes()).hexdigest())"
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    run = python("-c", program, OMP_NUM_THREADS="2", PYTHONHASHSEED="1", **cache)
    expected = hashlib.sha256(glyphs["validation"].images.numpy().tobytes()).hexdigest()
    assert run.stdout.strip() == expected, run.stderr


def test_a_characters_drawings_do_not_depend_on_which_others_there_are(glyphs):
    source = glyphs["test"]
    hebrew = [i for i, name in enumerate(source.names) if name.startswith("Hebrew/")]
    alone = module._draw_all(module.code_points("Hebrew")[::-1]).flip(0)
    assert torch.equal(alone, source.images[hebrew])


def test_a_damaged_cache_is_noticed_and_made_again(glyphs, own_cache):
    Glyphs("validation")
    (path,) = own_cache.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-1000], whole[:5000] + b"\xff" + whole[5001:], b""):
        path.write_bytes(damaged)
        assert torch.equal(Glyphs("validation").images, glyphs["validation"].images)
        assert path.read_bytes() == whole


def test_from_the_cache_nothing_is_drawn_again(glyphs, own_cache, monkeypatch):
    Glyphs("validation")
    monkeypatch.setattr(module, "_draw_all", None)
    assert torch.equal(Glyphs("validation").images, glyphs["validation"].images)


def test_other_versions_and_other_characters_have_another_file(monkeypatch):
    name = module._file_name("test")
    for attribute, other in (("VERSION", 0), ("N_DRAWINGS", 3), ("CODES", {"Latin": "41-5A"})):
        with monkeypatch.context() as patch:
            patch.setattr(module, attribute, other)
            assert module._file_name("test") != name


def test_on_a_read_only_disk_they_are_made_in_memory(glyphs, read_only_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only_disk))
    with pytest.warns(UserWarning, match="could not be kept .* set XDG_CACHE_HOME"):
        assert torch.equal(Glyphs("validation").images, glyphs["validation"].images)


def test_on_a_full_disk_they_are_made_in_memory(glyphs, small_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    with pytest.warns(UserWarning, match="No space left on device"):
        assert torch.equal(Glyphs("validation").images, glyphs["validation"].images)
    assert list(small_disk.rglob("*.bin*")) == []


@pytest.mark.timeout(120)
def test_killed_at_any_moment_while_making_them_it_leaves_nothing_wrong(
    glyphs, fresh_process, own_cache
):
    rng, found = random.Random(4), set()
    for kill in range(KILLS):
        process = fresh_process(killed_glyphs.make, own_cache.parent, "validation")
        while kill % 2 and process.is_alive() and not list(own_cache.glob("*")):
            time.sleep(0.0005)  # half of the kills come once it writes
        time.sleep(rng.uniform(0, 0.004 if kill % 2 else 0.5))
        process.kill()
        process.join()
        left = [path.name[0] for path in own_cache.glob("*")]
        found.add("half" if "." in left else "whole" if left else "none")
        assert torch.equal(Glyphs("validation").images, glyphs["validation"].images)
        for path in own_cache.glob("*"):
            path.unlink()
    assert {"half", "none"} <= found


def test_two_processes_that_make_them_at_once_leave_one_whole_file(
    glyphs, fresh_process, own_cache, monkeypatch
):
    both = [fresh_process(killed_glyphs.make, own_cache.parent, "validation") for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list(own_cache.iterdir())) == 1
    monkeypatch.setattr(module, "_draw_all", None)
    assert torch.equal(Glyphs("validation").images, glyphs["validation"].images)


@pytest.mark.parametrize("split", ["valid", "Test", "background"])
def test_an_unknown_split_is_refused_with_the_nearest_name(split):
    with pytest.raises(ValueError, match="split must be one of 'train', 'validation', 'test'; got"):
        Glyphs(split)


def test_a_character_that_no_font_has_is_refused():
    assert glyph_shapes.face_of(0x378) is None
    with pytest.raises(ValueError, match=r"none of Matplotlib's .* has the character U\+0378"):
        glyph_shapes.fields([0x378])
    with pytest.raises(ValueError, match=r"U\+0020 has no ink"):
        glyph_shapes.fields([0x20])


def test_depth_is_the_distance_to_the_outline_in_pixels():
    # The bar of "I" is a rectangle: deepest along its middle, by half its width.
    field = glyph_shapes.fields([ord("I")])[0]
    ink = field > 0
    width = float(ink.any(0).sum()) / glyph_shapes.FINE
    assert float(ink.any(1).sum()) / glyph_shapes.FINE == pytest.approx(20, abs=0.4)
    assert float(field.max()) == pytest.approx(width / 2, abs=1 / glyph_shapes.FINE)
    assert float(glyph_shapes.half_width(field[None])) == pytest.approx(width / 2, abs=0.34)
    row, column = 42, int(ink[42].nonzero().max())
    outside = field[row, column + 1 : column + 7]
    assert torch.allclose(outside, -(torch.arange(6) + 0.5) / glyph_shapes.FINE)


def test_the_list_of_characters_is_by_the_rules_of_the_tool_that_chose_it():
    flat = [code for _, code in CODES]
    assert set(flat) <= set(glyph_classes.candidates())
    assert all(script == glyph_classes.script(code) for script, code in CODES)
    fields = glyph_classes.shapes(flat)
    assert float(glyph_shapes.half_width(fields).max()) <= glyph_classes.BROADEST
    assert int(glyph_classes.alike(flat, fields).sum()) == len(flat)  # each looks like itself only
