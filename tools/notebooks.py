"""Execute notebooks in place, top to bottom on the CPU, and store them in one canonical form.

`make notebooks` runs it over the whole book; give paths to run it over some. Without execution:
`python tools/notebooks.py --only-normalise book/optimization/maml.ipynb`.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

BOOK = Path(__file__).resolve().parent.parent / "book"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
CELL_METADATA = ("cellView", "mystnb", "tags")
# Pictures that plain pages show: a notebook's first figure, kept beside them.
COVERS = {"optimization/maml.ipynb": "_static/maml_adaptation.png"}
SOLUTION = re.compile(r"# ?@title Solution")  # Colab reads both forms, ruff writes the second
FOLDED = {"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"}


def notebooks(book: Path = BOOK) -> list[Path]:
    """Every notebook of the book, in the order of its path."""
    return sorted(p for p in book.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def execute(notebook: NotebookNode, folder: Path, kernel: str = "python3") -> NotebookNode:
    """Run every cell in a new kernel that sees no GPU, with `folder` as its working directory."""
    env = {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "0"} | os.environ
    client = NotebookClient(
        notebook, timeout=600, kernel_name=kernel, resources={"metadata": {"path": folder}}
    )
    return client.execute(env=env | {"CUDA_VISIBLE_DEVICES": ""}, stderr=subprocess.DEVNULL)


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs from run to run (timings, widgets, versions); number cells, name them."""
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info=LANGUAGE)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: set[str] = set()
    for position, cell in enumerate(notebook.cells):
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in CELL_METADATA})
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = f"cell-{position}"
        seen.add(cell["id"])
        if cell.cell_type == "code":
            if SOLUTION.match(cell.source):
                _fold(cell)
            cell.outputs = [_plain(output) for output in merge_streams(cell.outputs)]
    return notebook


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: how a kernel cuts them is chance."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def stored_stderr(notebook: NotebookNode) -> list[str]:
    """What the cells wrote to stderr, which a reader should never meet."""
    return [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]


def _fold(cell: NotebookNode) -> None:
    """A solution is folded on the web page by a tag and on Colab by its form view."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag != "hide-cell"]
    mystnb = NotebookNode(cell.metadata.get("mystnb", {}) | FOLDED)
    cell.metadata.update(cellView="form", tags=["hide-cell", *tags], mystnb=mystnb)


def first_figure(notebook: NotebookNode) -> bytes:
    """The notebook's first PNG."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return base64.b64decode(
        next(o.data["image/png"] for o in outputs if "image/png" in o.get("data", {}))
    )


def write_cover(path: Path, notebook: NotebookNode, book: Path = BOOK) -> None:
    """If a page shows this notebook's first figure, write it there."""
    for name, picture in COVERS.items():
        if path.resolve() == book / name:
            (book / picture).write_bytes(first_figure(notebook))


def _plain(output: NotebookNode) -> NotebookNode:
    for mime in [m for m in output.get("data", {}) if m.startswith("application/vnd.jupyter")]:
        del output["data"][mime]
    if "metadata" in output:
        output["metadata"] = NotebookNode()
    return output


def main(arguments: list[str] | None = None) -> int:
    """Work through the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="default: every notebook of the book")
    parser.add_argument("--only-normalise", action="store_true", help="do not execute")
    options = parser.parse_args(arguments)
    failed = 0
    for path in options.paths or notebooks():
        notebook, start = nbformat.read(path, as_version=4), time.perf_counter()
        try:
            if not options.only_normalise:
                notebook = execute(notebook, path.resolve().parent)
        except CellExecutionError as error:
            print(f"{path}: a cell raised\n{error}", file=sys.stderr)
            failed += 1
            continue
        if noise := stored_stderr(notebook):
            print(f"{path}: not stored, it wrote to stderr:\n{''.join(noise)}", file=sys.stderr)
            failed += 1
            continue
        path.write_text(nbformat.writes(normalise(notebook)) + "\n", encoding="utf-8")
        write_cover(path, notebook)
        print(f"{path}  {time.perf_counter() - start:.1f} s", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
