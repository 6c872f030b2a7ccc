"""Resolve every extra of `pyproject.toml` for all supported Pythons at once into constraints.txt.

`make constraints` runs it. It needs `uv`, whose universal resolution writes the markers with which
one file serves Python 3.10 and 3.13. Left out are the CUDA libraries, which torch itself pins
exactly and which only some machines want.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ["hatchling", "pip>=24", "setuptools<81", "wheel"]
CHOSEN = ["torch==2.13.0"]  # the records were made with it
BY_HAND = ["learn2learn==0.2.0"]  # its sdist cannot be read without compiling it
LEFT_OUT = re.compile(r"^(nvidia-|cuda-|triton)|sys_platform == 'emscripten'$")
HEAD = """\
# What `make book` and `make test` install, and so what the book's numbers were made with.
# Written by `make constraints`; pyproject.toml holds the ranges that should work.
"""


def pins(resolved: str) -> list[str]:
    """The lines of uv's answer that are kept, with those written by hand, in order."""
    lines = [line for line in resolved.splitlines() if line and not LEFT_OUT.search(line)]
    return sorted([*lines, *BY_HAND], key=str.lower)


def resolve() -> str:
    """Ask uv for one resolution that holds on every Python from 3.10 on."""
    with tempfile.NamedTemporaryFile("w", suffix=".in") as more:
        more.write("\n".join(BUILD + CHOSEN))
        more.flush()
        extras = [
            flag for extra in ("book", "test", "peers", "tune") for flag in ("--extra", extra)
        ]
        command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--quiet"]
        command += ["--python-version", "3.10", "--no-header", "--no-annotate"]
        command += [*extras, "pyproject.toml", more.name]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    (ROOT / "constraints.txt").write_text(HEAD + "\n".join(pins(resolve())) + "\n")
