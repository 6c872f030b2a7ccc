"""What every notebook must satisfy; nbval, over `book/`, re-executes them and compares."""

import ast
import json
import re

import nbformat
import pytest

from tests.book.files import (
    BOOK,
    MACHINE_PATH,
    NOTEBOOKS,
    PAGES,
    code_cells,
    figures,
    name,
    prose,
    read,
    tags,
    text_of,
)
from tools.address import INSTALL_ID
from tools.notebooks import COVERS, SOLUTION, first_figure, normalise

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
every_page = pytest.mark.parametrize("path", PAGES, ids=name)

FILLER = """
in this section we will|in this chapter we will|it is worth noting|it should be noted|delve|
as we all know|needless to say|dive into the|in conclusion|plays a crucial role|in today's world|
wide range of|powerful technique|attracted wide attention
""".replace("\n", "").split("|")


@every_notebook
def test_a_notebook_was_executed_once_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(read(path))]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_no_cell_stores_an_error_or_wrote_to_stderr(path):
    outputs = [o for cell in code_cells(read(path)) for o in cell.outputs]
    assert [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []


@every_notebook
def test_a_notebook_holds_no_path_of_the_machine_that_ran_it(path):
    notebook = read(path)
    texts = [cell.source for cell in notebook.cells]
    texts += [text_of(output) for cell in code_cells(notebook) for output in cell.outputs]
    texts.append(json.dumps(notebook.metadata))
    assert [text for text in texts if MACHINE_PATH.search(text)] == []


@every_notebook
def test_cells_have_unique_ids_in_nbformat_4_5(path):
    notebook = read(path)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


@every_notebook
def test_a_notebook_is_stored_in_canonical_form(path):
    """Without timings, widgets and versions, which would differ at each execution."""
    notebook = read(path)
    assert normalise(read(path)) == notebook, "run `make notebooks`"


@every_notebook
def test_a_notebook_file_stays_under_a_megabyte(path):
    assert path.stat().st_size < 1_000_000


@every_notebook
def test_every_figure_is_a_png_with_a_text_alternative(path):
    """nbval ignores PNG, not SVG; the page shows the cell's `mystnb.image.alt`."""
    without = []
    for cell in code_cells(read(path)):
        for figure in figures(cell):
            kinds = {mime for mime in figure.data if mime.startswith("image/")}
            assert kinds == {"image/png"}, f"{cell.id} stores {kinds}"
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            if len(alt) < 20:
                without.append(cell.id)
    assert without == []


@every_notebook
def test_a_cell_shows_at_most_one_figure(path):
    """Its text alternative belongs to one picture."""
    assert [c.id for c in code_cells(read(path)) if len(figures(c)) > 1] == []


@every_notebook
def test_a_code_cell_has_at_most_30_lines(path):
    assert [c.id for c in code_cells(read(path)) if c.source.count("\n") >= 30] == []


@every_notebook
def test_no_cell_ends_with_a_semicolon(path):
    """nbval runs cells without history, where a semicolon does not silence the last value."""
    ends = [c.id for c in code_cells(read(path)) if c.source.rstrip().endswith(";")]
    assert ends == []


@every_notebook
def test_no_output_shows_an_address_in_memory(path):
    outputs = [text_of(o) for cell in code_cells(read(path)) for o in cell.outputs]
    assert [text for text in outputs if re.search(r"\bat 0x[0-9a-f]{6,}", text)] == []


@every_notebook
def test_markdown_reads_the_same_on_colab_and_github(path):
    """No directive, role or bare environment: they show raw there."""
    text = prose(path)
    assert re.findall(r"^(?:```|~~~|:::+)\{.*", text, re.M) == []
    assert re.findall(r"\{[a-z:]+\}`", text) == []
    assert re.findall(r"(?m)^\([\w-]+\)=$", text) == []


@every_notebook
def test_display_formulas_break_lines_with_cr(path):
    r"""Sphinx puts a formula with \\ into `split`, in which MathJax refuses `\tag`."""
    blocks = re.findall(r"\$\$(.*?)\$\$", prose(path), re.S)
    assert [b for b in blocks if r"\tag" in b and re.search(r"\\\\(?!\w)", b)] == []


@every_notebook
def test_a_formulas_number_is_used_once(path):
    numbers = re.findall(r"\\tag\{([^}]+)\}", prose(path))
    assert sorted(set(numbers)) == sorted(numbers)


@every_notebook
def test_the_first_code_cell_installs_the_package(path):
    first = code_cells(read(path))[0]
    assert first.id == INSTALL_ID, "run `make address`"
    assert first.outputs == []
    assert "remove-cell" in tags(first)


@every_notebook
def test_nothing_installs_the_strangers_package(path):
    """`mlcode` on the package index belongs to somebody else."""
    commands = re.findall(r"(?m)pip3? install[^\n]*", path.read_text(encoding="utf-8"))
    assert [c for c in commands if re.search(r"(?<![\w.])mlcode(?![\w./])", c)] == []


@every_notebook
def test_solutions_are_folded_on_the_page_and_on_colab(path):
    solutions = [c for c in code_cells(read(path)) if "solution" in c.source.split("\n")[0].lower()]
    for cell in solutions:
        assert SOLUTION.match(cell.source), f"{cell.id} must start with `# @title Solution`"
        assert cell.metadata.get("cellView") == "form", cell.id
        assert "hide-cell" in tags(cell), cell.id


@every_notebook
def test_a_chapter_with_exercises_solves_them(path):
    headings = re.findall(r"(?m)^#{2,4} +(?:Exercise \d|\d+\.? )|^\*\*Exercise \d", prose(path))
    exercises = [h for h in headings if "Exercise" in h]
    solutions = [c for c in code_cells(read(path)) if SOLUTION.match(c.source)]
    assert len(solutions) >= len(exercises)


@every_notebook
def test_a_cell_whose_output_is_not_compared_is_held_by_an_assertion(path):
    """Numbers that differ between processors: the notebook asserts them within a tolerance."""
    cells = code_cells(read(path))
    loose = [c for c in cells if "nbval-ignore-output" in tags(c) and c.id != INSTALL_ID]
    if loose:
        checks = [
            c for c in cells if re.search(r"(?m)^\s*assert |assert_\w+\(|\ballclose\(", c.source)
        ]
        assert checks != []


@every_notebook
def test_every_code_cell_parses_without_its_magics(path):
    for cell in code_cells(read(path)):
        source = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell.source)
        assert ast.parse(source) is not None


@every_page
def test_a_page_has_one_title_and_it_comes_first(path):
    text = re.sub(r"(?ms)^```.*?^```", "", prose(path))
    assert text.lstrip().startswith("# ")
    assert len(re.findall(r"(?m)^# ", text)) == 1


@every_page
def test_the_prose_holds_no_filler(path):
    text = prose(path).lower()
    assert [phrase for phrase in FILLER if phrase in text] == []


@every_page
def test_links_between_pages_lead_to_files_that_exist(path):
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", prose(path))
    assert [t for t in targets if not (path.parent / t).exists()] == []


def test_a_picture_on_a_plain_page_is_the_figure_of_its_chapter():
    for chapter, picture in COVERS.items():
        notebook = nbformat.read(BOOK / chapter, as_version=4)
        assert (BOOK / picture).read_bytes() == first_figure(notebook)
