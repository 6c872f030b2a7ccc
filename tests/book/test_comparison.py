"""The comparison of outputs notices a number that was changed by hand."""

import re
import subprocess

import nbformat
import pytest

from tests.book.files import NOTEBOOKS, PYTHON, ROOT, code_cells, name, read, tags, text_of

OFF = {"nbval-ignore-output", "nbval-skip"}


def _compared_number(cell):
    """The first output with a digit in a cell whose outputs are compared."""
    if tags(cell) & OFF or "NBVAL_" in cell.source:
        return None
    return next((o for o in cell.outputs if re.search(r"\d", text_of(o))), None)


def _up_to(notebook, cell_id):
    """The notebook's beginning, to the cell with that id."""
    last = next(i for i, cell in enumerate(notebook.cells) if cell.id == cell_id)
    notebook.cells = notebook.cells[: last + 1]
    return notebook


def _first_compared(path):
    return next((c for c in code_cells(read(path)) if _compared_number(c)), None)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_digit_changed_in_a_stored_output_fails_the_comparison(path, tmp_path):
    cell = _first_compared(path)
    assert cell is not None, "the chapter prints no number that is compared"
    intact, changed = _up_to(read(path), cell.id), _up_to(read(path), cell.id)
    output = _compared_number(changed.cells[-1])
    where = output if "text" in output else output.data
    key = next(key for key in ("text", "text/markdown", "text/plain") if key in where)
    where[key] = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), where[key], count=1)
    assert text_of(output) != text_of(_compared_number(intact.cells[-1]))
    nbformat.write(intact, tmp_path / "intact.ipynb")
    nbformat.write(changed, tmp_path / "changed.ipynb")

    command = [PYTHON, "-m", "pytest", "-c", ROOT / "pyproject.toml", f"--rootdir={tmp_path}"]
    command += ["--color=no", "-p", "no:cacheprovider", "-q", "."]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    failures = re.findall(r"(?m)^FAILED (\S+ \d+)", run.stdout)
    assert failures == [f"changed.ipynb::Cell {len(code_cells(changed)) - 1}"], run.stdout
    assert "Cell outputs differ" in run.stdout
