"""The repository's address is written once, in `_config.yml`, and stamped wherever it is needed."""

import json
import shutil

import pytest

from tests.book.files import NOTEBOOKS, ROOT, code_cells, name, read
from tools import address

OTHER = "https://github.com/ada-lovelace/meta.learning-2"


@pytest.fixture
def fork(tmp_path):
    """A copy of everything that mentions the address, with one edited line."""
    for path in (*address.documents(ROOT), ROOT / "_config.yml"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    config = tmp_path / "_config.yml"
    config.write_text(config.read_text().replace(address.address(ROOT), OTHER))
    return tmp_path


def _texts(root):
    return {p: p.read_text(encoding="utf-8") for p in address.documents(root)}


def test_every_document_is_in_step_with_the_config():
    assert address.restamp(ROOT, write=False) == [], "run `make address`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_the_install_cell_is_the_one_generated_from_the_address(path):
    cell = code_cells(read(path))[0]
    assert cell.source == address.INSTALL.format(address=address.address(ROOT))


def test_one_line_and_one_target_move_the_book_to_another_address(fork):
    owner, repository = address.owner_and_name(address.address(ROOT))
    assert address.main([], root=fork) == 0
    for path, text in _texts(fork).items():
        assert f"{owner}/{repository}" not in text, path
        assert f"{owner}.github.io" not in text, path
        assert path.suffix != ".ipynb" or f"git+{OTHER}" in text, path
    assert address.stamped(fork) == OTHER


def test_stamping_twice_changes_nothing_more(fork):
    assert address.restamp(fork) != []
    once = _texts(fork)
    assert address.restamp(fork) == []
    assert _texts(fork) == once


def test_a_check_changes_nothing_and_fails_when_out_of_step(fork):
    before = _texts(fork)
    assert address.main(["--check"], root=fork) == 1
    assert _texts(fork) == before


def test_links_to_colab_and_pages_move_too():
    old, new = "https://github.com/a/book", "https://github.com/bb/text"
    text = "colab.research.google.com/github/a/book/blob/main/x.ipynb https://a.github.io/book/x"
    moved = "colab.research.google.com/github/bb/text/blob/main/x.ipynb https://bb.github.io/text/x"
    assert address.rehome(text, old, new) == moved
    assert address.rehome("github.com/a/bookshop", old, new) == "github.com/a/bookshop"


def test_a_notebook_without_an_install_cell_gets_one_before_its_code():
    cells = [{"cell_type": "markdown", "id": "a"}, {"cell_type": "code", "id": "b"}]
    stamped = json.loads(address.with_install_cell(json.dumps({"cells": cells}), OTHER))
    assert [cell["id"] for cell in stamped["cells"]] == ["a", address.INSTALL_ID, "b"]


@pytest.mark.parametrize("url", ["https://gitlab.com/a/b", "git@github.com:a/b.git", "a/b"])
def test_an_address_that_colab_could_not_open_is_refused(url):
    with pytest.raises(ValueError, match=r"https://github.com/<owner>/<name>"):
        address.owner_and_name(url)


def test_publishing_is_refused_while_the_placeholder_stands(fork, capsys):
    config = fork / "_config.yml"
    placeholder = f"https://github.com/{address.PLACEHOLDER_OWNER}/learning-to-learn"
    config.write_text(config.read_text().replace(OTHER, placeholder))
    assert address.main(["--publishable"], root=fork) == 1
    assert "placeholder" in capsys.readouterr().err


def test_a_fork_with_its_own_address_may_publish(fork, capsys):
    assert address.main(["--publishable"], root=fork) == 0
    assert capsys.readouterr().err == ""
