"""What `test_cache` and `test_omniglot_faults` kill. A module for a fresh process, not a test."""

import os
from pathlib import Path

from mlcode.sources import omniglot
from mlcode.sources.cache import cached_bytes

SIZE = 2_000_000


def content(number: int) -> bytes:
    """Bytes that tell which of many versions they are, in each place."""
    return bytes([number % 256]) * SIZE


def write_for_ever(base: Path) -> None:
    """Make, keep and throw away one cached file, again and again."""
    os.environ["XDG_CACHE_HOME"] = str(base)
    number = 0
    while True:
        number += 1
        cached_bytes("file", lambda: content(number))  # noqa: B023, called at once
        if number % 3 == 0:
            (base / "learning-to-learn" / "file").unlink()


def load_from(address: str, md5: dict[str, str], base: Path) -> None:
    """Download and cache Omniglot's evaluation archive."""
    os.environ["XDG_CACHE_HOME"] = str(base)
    os.environ["no_proxy"] = "*"
    os.environ.pop("MLCODE_DATA", None)
    omniglot.ADDRESS, omniglot.MD5 = address, md5
    omniglot.Omniglot("evaluation")
