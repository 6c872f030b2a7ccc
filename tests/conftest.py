"""In the tests, every call into the package is held to the shapes that its annotations state."""

import os
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings

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
