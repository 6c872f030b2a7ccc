"""The chapters on images run on Omniglot when one line is changed, their assertions included."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.book.files import BOOK

LINE = "characters = mlcode.Glyphs  # or mlcode.Omniglot"
CHAPTERS = (
    "background/transfer",
    "background/tasks_and_evaluation",
    "optimization/maml_images",
    "optimization/reptile",
    "metric/siamese",
    "metric/prototypical",
    "multitask/meta_transfer",
    "practice/choosing_and_tuning",
    "practice/robustness_and_interpretability",
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_one_line_switches_the_chapter_to_omniglot(chapter, data, monkeypatch, tmp_path):
    monkeypatch.setenv("MLCODE_DATA", str(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    switched = 0
    for cell in notebook.cells:
        if cell.cell_type == "code" and LINE in cell.source:
            switched += cell.source.count(LINE)
            cell.source = cell.source.replace(LINE, "characters = mlcode.Omniglot")
    assert switched == 1
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
