import csv

import numpy as np
import pytest
import torch
from PIL import Image

from mlcode import ConvNet, Episodes
from mlcode.sources.mini_imagenet import MiniImageNet
from tests.helpers import seeded

COLOURS = {"n01": (255, 0, 0), "n02": (0, 255, 0), "n03": (0, 0, 255)}
pytestmark = pytest.mark.usefixtures("own_cache")


def write_list(root, name, rows, header=("filename", "label")):
    with (root / name).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def folder(tmp_path):
    """Three classes of four photographs, each of one colour; test has two of the classes' names."""
    (tmp_path / "images").mkdir()
    rows = []
    for label, colour in COLOURS.items():
        for i in range(4):
            name = f"{label}{i:08}.png"
            Image.new("RGB", (20 + i, 10), colour).save(tmp_path / "images" / name)
            rows.append((name, label))
    write_list(tmp_path, "train.csv", rows)
    Image.new("RGB", (5, 5), (9, 9, 9)).save(tmp_path / "images" / "other.png")
    for name in ("val.csv", "test.csv"):
        write_list(tmp_path, name, [("other.png", name)])
    return tmp_path


def test_every_image_is_in_its_class_with_its_colour(folder):
    data = MiniImageNet("train", folder, side=6)
    assert data.images.shape == (3, 4, 3, 6, 6)
    assert data.names == tuple(COLOURS)
    assert data.image_shape == (3, 6, 6)
    for images, colour in zip(data.images, COLOURS.values()):
        assert (images == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all()


def test_an_image_keeps_its_way_up_and_its_sides(folder):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4, :4] = 255
    for i in range(4):
        Image.fromarray(picture).save(folder / "images" / f"n01{i:08}.png")
    image = MiniImageNet("train", folder, side=8).images[0, 0]
    assert image[:, 0, 0].tolist() == [255, 255, 255]
    assert image[:, 7, 0].tolist() == image[:, 0, 7].tolist() == [0, 0, 0]


def test_episodes_and_the_network_take_it(folder):
    tasks = Episodes(MiniImageNet("train", folder, side=16), 2, 1, 2).sample(3, generator=seeded(0))
    assert tasks.support.x.shape == (3, 2, 3, 16, 16)
    net = ConvNet(2, in_channels=3, n_filters=32, downsampling="pool", image_size=16)
    assert net(tasks.query.x[0]).shape == (4, 2)


def test_the_folder_may_be_named_by_the_environment(folder, monkeypatch):
    (folder / "mini_imagenet").mkdir()
    for name in ("images", "train.csv", "val.csv", "test.csv"):
        (folder / name).rename(folder / "mini_imagenet" / name)
    monkeypatch.setenv("MLCODE_DATA", str(folder))
    assert len(MiniImageNet("train", side=4)) == 3


def test_the_second_time_it_comes_from_the_cache_and_a_changed_image_is_noticed(folder, own_cache):
    first = MiniImageNet("train", folder, side=4)
    assert torch.equal(MiniImageNet("train", folder, side=4).images, first.images)
    assert len(list(own_cache.iterdir())) == 1
    Image.new("RGB", (20, 10), (1, 2, 3)).save(folder / "images" / "n0100000000.png")
    changed = MiniImageNet("train", folder, side=4)
    assert changed.images[0, 0, :, 0, 0].tolist() == [1, 2, 3]


def test_without_the_data_it_says_how_to_get_them_and_names_glyphs(tmp_path):
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"https://image-net.org.* Without it, use Glyphs"):
            MiniImageNet("train", folder)


def test_an_unknown_split_is_refused_with_the_nearest(folder):
    with pytest.raises(ValueError, match="Did you mean 'validation'"):
        MiniImageNet("validatoin", folder)


def break_nothing_but(folder, what):
    rows = [(f"{label}{i:08}.png", label) for label in COLOURS for i in range(4)]
    if what == "list missing":
        (folder / "train.csv").unlink()
    elif what == "list empty":
        write_list(folder, "train.csv", [])
    elif what == "other columns":
        write_list(folder, "train.csv", rows, header=("id", "class"))
    elif what == "no label":
        write_list(folder, "train.csv", [*rows, ("x.png", "")])
    elif what == "a path":
        write_list(folder, "train.csv", [*rows, ("../x.png", "n01")])
    elif what == "image missing":
        (folder / "images" / "n0200000001.png").unlink()
    elif what == "image damaged":
        path = folder / "images" / "n0200000001.png"
        path.write_bytes(path.read_bytes()[:40])
    elif what == "unequal":
        write_list(folder, "train.csv", rows[:-1])
    elif what == "leak":
        write_list(folder, "test.csv", [("other.png", "n02")])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("list missing", r"train\.csv is missing"),
        ("list empty", "lists no image"),
        ("other columns", "must begin with the line `filename,label`"),
        ("no label", "line 14: expected a file name and a label"),
        ("a path", "line 14: expected a file name and a label"),
        ("image missing", r"n0200000001\.png, which train\.csv lists, is missing"),
        ("image damaged", r"n0200000001\.png is no readable image"),
        ("unequal", "most have 4, n03 has 3"),
        ("leak", r"n02 is a class of train\.csv and of test\.csv"),
    ],
)
def test_what_is_wrong_with_the_folder_is_said(folder, what, message):
    break_nothing_but(folder, what)
    with pytest.raises(ValueError, match=message):
        MiniImageNet("train", folder, side=4)
