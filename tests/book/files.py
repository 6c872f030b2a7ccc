"""The book's files, as the tests see them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
HTML = ROOT / "_build" / "html"
PYTHON = sys.executable
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home|work|tmp|Users|mnt|opt)/\w|\b[A-Z]:\\Users\\")

NOTEBOOKS = sorted(p for p in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
PAGES = sorted([*NOTEBOOKS, *BOOK.rglob("*.md")])


def name(path: Path) -> str:
    """A page's name in test reports and in `_toc.yml`: `optimization/maml`."""
    return path.relative_to(BOOK).with_suffix("").as_posix()


def toc() -> list[str]:
    """The pages in `_toc.yml`, in reading order."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *chapters]


def read(path: Path) -> NotebookNode:
    """A notebook, exactly as it is stored."""
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=nbformat.NO_CONVERT)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells with something in them."""
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def tags(cell: NotebookNode) -> set[str]:
    """A cell's tags."""
    return set(cell.metadata.get("tags", []))


def prose(path: Path) -> str:
    """The Markdown of a page."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")


def figures(cell: NotebookNode) -> list[NotebookNode]:
    """A cell's outputs that are pictures."""
    return [
        output
        for output in cell.get("outputs", [])
        if any(mime.startswith("image/") for mime in output.get("data", {}))
    ]


def text_of(output: NotebookNode) -> str:
    """What an output says in words."""
    data = output.get("data", {})
    return output.get("text", "") or data.get("text/markdown", "") or data.get("text/plain", "")
