"""The errata and the chapters lead to each other, and a fault that was run is held by a check."""

import functools
import re
from dataclasses import dataclass, field

import pytest
from mdit_py_plugins.anchors.index import slugify
from nbformat import NotebookNode

from tests.book.files import BOOK, NOTEBOOKS, name, prose, read, tags, text_of

TEXT = (BOOK / "appendix" / "errata.md").read_text(encoding="utf-8")
FAULTS = [row for row in TEXT.splitlines() if re.match(r"\| 00.* \| .* \| .* \| ", row)]
LINK = re.compile(r"\]\(\.\./([\w/]+)\.ipynb#([\w-]+)\)")
PLACES = sorted({place for row in FAULTS for place in LINK.findall(row)})
BACK = "../appendix/errata.md"
DOCUMENTS = ("000", "001", "002", "003", "004")


@dataclass
class Section:
    """A heading, what stands below it up to the next one, and the headings that enclose it."""

    level: int
    anchor: str
    enclosing: list["Section"]
    text: str = ""
    code: list[NotebookNode] = field(default_factory=list)


@functools.cache
def sections(chapter: str) -> list[Section]:
    """The sections of a notebook, in order."""
    found: list[Section] = []
    for cell in read(BOOK / f"{chapter}.ipynb").cells:
        if cell.cell_type == "code":
            found[-1].code.append(cell)
            continue
        for part in re.split(r"(?m)^(?=#+ )", cell.source):
            if heading := re.match(r"(#+) (.*)", part):
                level, anchor = len(heading[1]), slugify(heading[2].replace("`", ""))
                around = [*found[-1].enclosing, found[-1]] if found else []
                around = [section for section in around if section.level < level]
                found.append(Section(level, anchor, around))
            if part.strip():
                found[-1].text += part
    return found


def place(chapter: str, anchor: str) -> list[Section]:
    """The section with this anchor and those below it."""
    return [
        section
        for section in sections(chapter)
        if anchor in (section.anchor, *(around.anchor for around in section.enclosing))
    ]


def can_fail(cell: NotebookNode) -> bool:
    """Whether the cell asserts something or prints what nbval compares."""
    printed = any(text_of(o) and "image/png" not in o.get("data", {}) for o in cell.outputs)
    compared = printed and "nbval-ignore-output" not in tags(cell)
    return compared or bool(re.search(r"(?m)^\s*assert ", cell.source))


def test_each_of_the_five_documents_has_faults_listed():
    assert {d for row in FAULTS for d in re.findall(r"00\d", row.split("|")[1])} == {*DOCUMENTS}


@pytest.mark.parametrize("row", FAULTS, ids=range(len(FAULTS)))
def test_every_fault_has_a_place_in_a_chapter(row):
    assert LINK.findall(row.split(" | ")[-1])


@pytest.mark.parametrize(("chapter", "anchor"), sorted(set(LINK.findall(TEXT))))
def test_a_place_that_the_page_names_exists(chapter, anchor):
    assert place(chapter, anchor)


@pytest.mark.parametrize(("chapter", "anchor"), PLACES)
def test_the_place_of_a_fault_leads_back(chapter, anchor):
    here = place(chapter, anchor)
    around = [section for section in here[0].enclosing if section.level > 1]
    assert any(BACK in section.text for section in [*around, *here])


def test_a_chapter_that_speaks_of_the_errata_is_named_there():
    speaking = {name(path) for path in NOTEBOOKS if BACK in prose(path)}
    assert speaking - set(re.findall(r"\.\./([\w/]+)\.ipynb", TEXT)) == set()


@pytest.mark.parametrize("row", [row for row in FAULTS if re.search(r"\brun\b", row)])
def test_a_fault_that_was_run_is_held_by_a_check(row):
    cells = [c for found in LINK.findall(row) for s in place(*found) for c in s.code]
    assert any(map(can_fail, cells))
