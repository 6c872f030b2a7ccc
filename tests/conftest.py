"""In the tests, every call into the package is held to the shapes that its annotations state."""

import csv
import os
from itertools import product
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from tests.typechecking import CHECKER

jaxtyping.install_import_hook("mlcode", CHECKER)

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)  # small tensors: more threads only wait for one another

# The same inputs on each run: a failure that somebody sees, everybody can see.
settings.register_profile("book", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("book")


@pytest.fixture
def unchecked():
    """Switch the shape checks off, as for a reader: torch.compile cannot trace them, and wrong
    types must meet the package's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def data():
    """The folder with Omniglot's archives."""
    folder = Path(os.environ.get("MLCODE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "omniglot" / "images_background.zip").is_file():
        pytest.skip("Omniglot is neither in MLCODE_DATA nor in ../shared/data")
    return folder.resolve()


@pytest.fixture
def omniglot_at_hand(data, monkeypatch):
    """`Omniglot` reads from there."""
    monkeypatch.setenv("MLCODE_DATA", str(data))


@pytest.fixture(scope="session")
def noise_photographs(tmp_path_factory):
    """A folder in miniImageNet's published form: five classes of twenty images of noise a split."""
    data = tmp_path_factory.mktemp("data")
    (data / "mini_imagenet" / "images").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        rows = [("filename", "label")]
        for label, i in product(range(5), range(20)):
            name = f"{split}{label}{i:08}.png"
            pixels = noise.integers(0, 256, (84, 84, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / "mini_imagenet" / "images" / name)
            rows.append((name, f"{split}{label}"))
        with (data / "mini_imagenet" / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return data


@pytest.fixture
def photographs(noise_photographs, tmp_path, monkeypatch):
    """`MiniImageNet` reads from there."""
    monkeypatch.setenv("MLCODE_DATA", str(noise_photographs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
