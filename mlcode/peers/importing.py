"""Import libraries that were last touched in 2023 beside the torch of today, without a word."""

import contextlib
import importlib
import io
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import torch

from mlcode.checks import check_choice

# The versions that the book is checked against.
PEERS = {"higher": "0.2.1", "learn2learn": "0.2.0", "torchopt": "0.7.3"}
WRITTEN = {"torchopt": "TorchOpt"}

# What torchvision's compiled part would declare.
TORCHVISION_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

HOW_TO_INSTALL = (
    "In a checkout, `make test` installs it. Elsewhere, in Colab too, run this line in a notebook: "
    "%run -m mlcode.peers.install (in a shell: python -m mlcode.peers.install)."
)


def load(name: str) -> ModuleType:
    """Import the peer `name`, quietly.

    Raises:
        ValueError: If it is not one of `PEERS`.
        ImportError: If it or something that it needs is not installed, or it does not import.
    """
    check_choice("the peer", name, sorted(PEERS))
    try:
        with _silence():
            if name == "learn2learn":
                _import_torchvision()
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "a module").partition(".")[0]
        what = (
            f"{name} is not installed."
            if missing == name
            else f"{name} needs {missing}, which is not installed."
        )
        raise ImportError(f"{what} {HOW_TO_INSTALL}", name=missing) from error
    except Exception as error:  # old libraries fail in many ways; the reader needs one
        raise ImportError(
            f"{peer_name(name)} is installed but does not import beside torch {torch.__version__} "
            f"({type(error).__name__}: {error}). {HOW_TO_INSTALL}",
            name=name,
        ) from error


def available(name: str) -> bool:
    """Whether the peer `name` can be imported here. It is imported to find out.

    Raises:
        ValueError: If it is not one of `PEERS`.
    """
    try:
        load(name)
    except ImportError:
        return False
    return True


def peer_name(name: str) -> str:
    """The peer as a table writes it, with the version installed or else the one checked against."""
    try:
        number = version(name)
    except PackageNotFoundError:
        number = PEERS[name]
    return f"{WRITTEN.get(name, name)} {number}"


def _import_torchvision() -> None:
    """Import torchvision, also beside a torch that its compiled part was not made for.

    That part then does not load, and torchvision stops at the first operator it would have
    declared. The declaration alone is enough for what learn2learn uses of it.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", TORCHVISION_SCHEMA)
        for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[module]  # half-imported by the first attempt
        importlib.import_module("torchvision")


@contextlib.contextmanager
def _silence():
    """No warnings and nothing on stderr: gym, which learn2learn imports, prints a paragraph."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
