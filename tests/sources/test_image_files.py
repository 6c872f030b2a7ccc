"""A reader's images are read as the training images look, and bad ones are named."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from mlcode import Glyphs
from mlcode.sources.image_files import class_folders, image_files, read_image

INK, COLOUR = (1, 28, 28), (3, 84, 84)


@pytest.fixture(scope="module")
def drawing():
    """Ink of a glyph, as bytes."""
    return Glyphs("validation").images[7, 0].numpy()


def written(folder, drawing, name="drawing.png", mode="L", size=112, **options):
    path = folder / name
    image = Image.fromarray(255 - drawing).resize((size, size), Image.Resampling.NEAREST)
    image.convert(mode).save(path, **options)
    return path


def test_a_glyph_that_was_saved_is_read_as_it_was(tmp_path, drawing):
    seen = read_image(written(tmp_path, drawing, size=28), INK)
    stretched = drawing / drawing.max()
    assert seen.shape == INK
    assert np.abs(seen[0].numpy() - stretched).max() < 0.01


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", "L", {}),
        ("a.png", "RGB", {}),
        ("a.png", "P", {}),
        ("a.png", "LA", {}),
        ("a.jpg", "RGB", {"quality": 95}),
        ("a.bmp", "L", {}),
        ("a.tiff", "L", {}),
        ("a.gif", "L", {}),
        ("a.webp", "RGB", {"lossless": True}),
    ],
)
def test_the_format_of_the_file_does_not_matter(tmp_path, drawing, name, mode, options):
    plain = read_image(written(tmp_path, drawing, "plain.png"), INK)
    other = read_image(written(tmp_path, drawing, name, mode, **options), INK)
    assert (plain - other).abs().max() < 0.05


def test_light_on_dark_reads_as_dark_on_light(tmp_path, drawing):
    dark = read_image(written(tmp_path, drawing), INK)
    light = read_image(written(tmp_path, 255 - drawing, "light.png"), INK)
    assert (dark - light).abs().max() < 0.02


def test_the_grey_of_the_paper_and_the_paleness_of_the_ink_do_not_matter(tmp_path, drawing):
    pale = 80 + (255 - drawing).astype(float) * (170 - 80) / 255
    path = tmp_path / "pale.png"
    Image.fromarray(pale.round().astype(np.uint8)).save(path)
    seen = read_image(path, INK)
    assert (seen - read_image(written(tmp_path, drawing, size=28), INK)).abs().max() < 0.02


def test_transparent_parts_are_paper(tmp_path, drawing):
    path = tmp_path / "transparent.png"
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[..., 3] = drawing  # black ink of which the alpha channel alone knows
    Image.fromarray(pixels).save(path)
    assert (
        read_image(path, INK) - read_image(written(tmp_path, drawing, size=28), INK)
    ).abs().max() < 0.02


def test_a_photograph_that_says_how_it_was_held_is_turned_upright(tmp_path, drawing):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    lying = written(tmp_path, np.rot90(drawing), "lying.jpg", quality=95, exif=exif)
    upright = read_image(written(tmp_path, drawing), INK)
    assert (read_image(lying, INK) - upright).abs().max() < 0.1


def test_colours_stay_for_a_network_of_colours(tmp_path):
    path = tmp_path / "red.png"
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:50, :, 0] = 255
    Image.fromarray(pixels).save(path)
    seen = read_image(path, COLOUR)
    assert seen.shape == COLOUR
    assert torch.allclose(seen[:, 10, 10], torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(seen[:, 80, 10], torch.zeros(3))


def coloured(folder):
    path = folder / "blue.png"
    pixels = np.full((40, 40, 3), 255, np.uint8)
    pixels[10:30, 18:22] = (20, 20, 200)
    Image.fromarray(pixels).save(path)
    return path


def test_colour_is_refused_for_ink_and_taken_as_brightness_when_asked(tmp_path):
    path = coloured(tmp_path)
    with pytest.raises(ValueError, match=r"blue\.png is in colour.*--grey"):
        read_image(path, INK)
    assert float(read_image(path, INK, grey=True).max()) > 0.8


def _half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _bomb(path):
    """A PNG that says it has 30,000 × 30,000 pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))


def _frames(path):
    frames = [Image.fromarray(np.full((40, 40), v, np.uint8)) for v in (0, 100, 200)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    path.unlink()
    return path.with_suffix(".gif")


def _replaced(pixels):
    return lambda path: Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_half, "no readable image"),
        (lambda path: path.write_bytes(b""), "no readable image"),
        (lambda path: path.write_text("a letter"), "no readable image"),
        (_bomb, "no readable image"),
        (_frames, "has 3 frames"),
        (_replaced(np.zeros((40, 50), np.uint8)), r"50 × 40 pixels and is not square"),
        (_replaced(np.eye(20, dtype=np.uint8) * 255), r"20 × 20 pixels; this learner sees 28 × 28"),
        (_replaced(np.full((40, 40), 255, np.uint8)), "is blank"),
        (_replaced(np.full((40, 40), 0, np.uint8)), "is blank"),
        (_replaced(250 + 5 * np.eye(40, dtype=np.uint8)), "is blank, or too faint"),
        (_replaced(np.eye(40, dtype=np.uint16) * 60_000), r"has the mode 'I;16'"),
    ],
)
def test_a_bad_image_is_named_with_what_is_wrong_with_it(tmp_path, drawing, damage, message):
    path = written(tmp_path, drawing)
    path = damage(path) if damage is _frames else (damage(path), path)[1]
    with pytest.raises(ValueError, match=message) as raised:
        read_image(path, INK)
    assert path.name in str(raised.value)


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_classes_are_the_sub_folders_and_hidden_files_are_none(tmp_path):
    make(tmp_path, "b/1.png", "b/0.png", "a/0.png", ".DS_Store", "a/.hidden", "b/Thumbs.db")
    found = class_folders(tmp_path)
    assert {name: [path.name for path in paths] for name, paths in found.items()} == {
        "a": ["0.png"],
        "b": ["0.png", "1.png"],
    }
    assert list(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "two or more classes to tell apart; it has none"),
        (("a/0.png",), "two or more classes to tell apart; it has one, 'a'"),
        (("a/0.png", "b/0.png", "c.png"), r"c\.png lies beside the classes"),
        (("a/0.png", "b/.hidden"), "b holds no image"),
        (("a/0.png", "b/c/0.png"), "c is a folder where images belong"),
    ],
)
def test_a_folder_of_classes_that_is_none_is_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        class_folders(make(tmp_path, *names))


def test_a_folder_of_queries_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        image_files(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere is no folder"):
        image_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"file is no folder"):
        image_files(make(tmp_path, "file") / "file")
    with pytest.raises(ValueError, match="a folder where images belong"):
        image_files(make(tmp_path, "sub/0.png"))
