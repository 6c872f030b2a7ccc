"""A notebook alone, in an empty folder and a fresh environment with what Colab carries, runs.

Its first cell then installs the package; here from a wheel of this checkout, there from the
repository's address.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sysconfig
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from packaging.requirements import Requirement

from tests.book.files import NOTEBOOKS, PYTHON, ROOT, code_cells, name, read, text_of
from tools.address import INSTALL_ID, address
from tools.notebooks import execute

COLAB = ("ipykernel", "matplotlib", "numpy", "pip", "torch")


@dataclass(frozen=True)
class Machine:
    """A fresh environment and the wheel that stands for the repository."""

    folder: Path
    wheel: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, notebook: NotebookNode, folder: Path) -> NotebookNode:
        """Execute the notebook with `folder`, empty, as its working directory."""
        return execute(notebook, folder, kernel="colab")

    def installed(self) -> set[str]:
        """The names of the distributions that are there now."""
        code = "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
        run = subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True)
        return set(run.stdout.split())

    def installs_from_the_wheel(self, notebook: NotebookNode) -> NotebookNode:
        """Point the install cell at the wheel instead of at the repository."""
        cell = code_cells(notebook)[0]
        assert cell.id == INSTALL_ID
        remote = f"git+{address()}"
        assert remote in cell.source
        cell.source = cell.source.replace(remote, self.wheel.as_uri())
        return notebook


def _closure(names: tuple[str, ...]) -> Iterator[PathDistribution]:
    """The distributions by those names with all that they require, from this environment."""
    todo, seen = list(names), set()
    while todo:
        found = distribution(todo.pop())
        if found.name in seen:
            continue
        seen.add(found.name)
        requirements = map(Requirement, found.requires or [])
        todo += [
            r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
        yield found


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where that is impossible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The package, built as a reader's pip would build it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [PYTHON, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def machine(tmp_path, wheel, monkeypatch) -> Machine:
    """A fresh environment, its kernel known to Jupyter as "colab"."""
    return make_machine(tmp_path, wheel, monkeypatch)


@pytest.fixture(scope="module")
def used_machine(tmp_path_factory, wheel) -> Iterator[Machine]:
    """One for all notebooks: the first installs the package, the others find it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield make_machine(tmp_path_factory.mktemp("colab"), wheel, monkeypatch)


def make_machine(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Fill an environment with what Colab carries, and put it before all others."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    here = Path(sysconfig.get_path("purelib"))
    there = folder / here.relative_to(Path(sysconfig.get_path("data")))
    for found in _closure(COLAB):
        for file in found.files or []:
            if ".." not in file.parts and (here / file).is_file():
                _link(here / file, there / file)
    kernel = tmp_path / "jupyter" / "kernels" / "colab" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    launch = [str(folder / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": launch, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PIP_CONSTRAINT", str(ROOT / "constraints.txt"))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return Machine(folder, wheel)


def run_alone(
    path: Path,
    machine: Machine,
    folder: Path,
    transform: Callable[[NotebookNode], NotebookNode] = lambda notebook: notebook,
) -> NotebookNode:
    """Run one notebook by itself on a machine like Colab's and return it executed.

    `transform` may change it first, say switch on a line that a reader would.
    """
    assert machine.installed() >= {"torch"}
    assert not machine.installed() & {"learning-to-learn-book", "mlcode"}
    folder.mkdir()
    done = machine.run(transform(machine.installs_from_the_wheel(read(path))), folder)
    assert "learning-to-learn-book" in machine.installed()
    assert "mlcode" not in machine.installed(), "that is the stranger's"
    return done


@pytest.mark.slow
def test_a_notebook_runs_alone_where_only_colabs_packages_are(machine, tmp_path):
    """One whole; the book's tests execute all of them in the environment of the tests."""
    path = ROOT / "book" / "optimization" / "maml.ipynb"
    done = run_alone(path, machine, tmp_path / "empty")
    assert all(cell.execution_count for cell in code_cells(done))


def _what_has_to_be_there(notebook: NotebookNode) -> NotebookNode:
    """The install cell, then every import and every record that the other cells ask for."""
    install, *others = code_cells(notebook)
    wanted = []
    for cell in others:
        source = re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE)
        for node in ast.walk(ast.parse(source)):
            called = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("read_record")
            if isinstance(node, ast.Import | ast.ImportFrom) or called:
                wanted.append(ast.unparse(node))
    notebook.cells = [install, *map(new_code_cell, wanted)]
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_notebook_finds_there_what_it_imports_and_which_records_it_reads(
    path, used_machine, tmp_path
):
    notebook = _what_has_to_be_there(used_machine.installs_from_the_wheel(read(path)))
    used_machine.run(notebook, tmp_path)
    assert "learning-to-learn-book" in used_machine.installed()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_no_notebook_reads_a_file_that_lies_beside_it(path):
    """It would not lie beside it in Colab."""
    source = "\n".join(cell.source for cell in code_cells(read(path)))
    assert re.findall(r"\bopen\(|\bPath\(|read_text|read_csv|imread|\.\./", source) == []


def _only_the_cross_check(notebook: NotebookNode, *, with_peers: bool) -> NotebookNode:
    """The MAML chapter without what the cross-check does not need."""
    needed = ("import ", "from ", "# Remove the # to install")
    notebook.cells = [
        cell
        for cell in code_cells(notebook)
        if cell.id == INSTALL_ID or cell.source.startswith(needed)
    ]
    line = "# %run -m mlcode.peers.install"
    assert sum(line in cell.source for cell in notebook.cells) == 1, "one visible line"
    for cell in notebook.cells if with_peers else []:
        cell.source = cell.source.replace(line, line.removeprefix("# "))
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("with_peers", [False, True])
def test_the_cross_check_works_with_the_peers_and_says_so_without_them(
    with_peers, machine, tmp_path
):
    path = ROOT / "book" / "optimization" / "maml.ipynb"
    transform = functools.partial(_only_the_cross_check, with_peers=with_peers)
    done = run_alone(path, machine, tmp_path / "empty", transform)
    printed = "".join(text_of(output) for output in done.cells[-1].outputs)
    assert printed.count("learn2learn 0.2.0") >= 2
    assert ("Not installed here" in printed) == (not with_peers)
    assert ("Recorded on" in printed) == (not with_peers)
    assert ("learn2learn" in machine.installed()) == with_peers


def test_the_wheel_carries_the_package_and_its_records(wheel):
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    assert "mlcode/__init__.py" in names
    records = {p.name for p in (ROOT / "records").glob("*.json")}
    assert {
        n.rsplit("/", 1)[1] for n in names if re.match(r"mlcode/_records/.*\.json", n)
    } == records
    assert [n for n in names if not re.match(r"mlcode/|learning_to_learn_book-", n)] == []
