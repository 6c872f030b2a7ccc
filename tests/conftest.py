"""In the tests, every call into the package is held to the shapes that its annotations state."""

import jaxtyping
import pytest
import torch
from hypothesis import settings

from tests.typechecking import CHECKER

jaxtyping.install_import_hook("mlcode", CHECKER)

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
