"""The files around the package agree with each other, and hold nothing of one machine."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.book.files import MACHINE_PATH, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONDA = {"matplotlib-base": "matplotlib", "pytorch": "torch"}
CONDA_ONLY = {"python", "pip", "hatchling", "jupyterlab"}


def _project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def _text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def _pins():
    lines = _text("constraints.txt").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def _tracked():
    """The project's files: those that git has, or all where there is no git."""
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [path for name in run.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_condas_environment_has_the_ranges_of_pyproject():
    listed = _yaml("environment.yml")["dependencies"]
    by_pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    conda = map(Requirement, [entry for entry in listed if isinstance(entry, str)] + by_pip)
    ranges = {CONDA.get(r.name, r.name): r.specifier for r in conda}
    project = _project()
    wanted = map(Requirement, project["dependencies"] + project["optional-dependencies"]["book"])
    assert {n: s for n, s in ranges.items() if n not in CONDA_ONLY} == {
        r.name: r.specifier for r in wanted
    }
    assert ranges["python"] == project["requires-python"]


def test_every_requirement_is_pinned_within_its_range():
    project = _project()
    extras = project["optional-dependencies"].values()
    wanted = map(Requirement, [*project["dependencies"], *(r for extra in extras for r in extra)])
    pins = {}
    for pin in _pins():
        pins.setdefault(canonicalize_name(pin.name), []).append(next(iter(pin.specifier)).version)
    for requirement in wanted:
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert versions != [], requirement
        assert all(requirement.specifier.contains(v, prereleases=True) for v in versions), versions


def _closure(requirements):
    """The names of all distributions that these requirements bring in on this machine."""
    todo, seen = list(requirements), set()
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        marker, extras = requirement.marker, requirement.extras or {""}
        if key in seen or (marker and not marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        needs = map(Requirement, distribution(requirement.name).requires or [])
        todo += [
            Requirement(f"{r.name}[{','.join(r.extras)}]" if r.extras else r.name)
            for r in needs
            if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return {name for name, _ in seen}


@pytest.mark.skipif(os.environ.get("PINS") == "", reason="this run pins nothing")
def test_whatever_the_requirements_bring_in_is_pinned():
    """So that a second machine gets the same; the CUDA libraries come with torch or not at all."""
    extras = ",".join(_project()["optional-dependencies"])
    needed = _closure([Requirement(f"learning-to-learn-book[{extras}]")])
    loose = needed - {canonicalize_name(pin.name) for pin in _pins()}
    from_torch = {name for name in loose if re.match(r"nvidia-|cuda-|triton", name)}
    assert loose - from_torch - {"learning-to-learn-book"} == set()


def test_constraints_name_versions_and_no_place_to_fetch_them_from():
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in _pins())
    assert re.findall(r"(?m)^-|://|\+", _text("constraints.txt")) == []
    assert {str(pin) for pin in _pins() if pin.name == "torch"} == {"torch==2.13.0"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git to list the project's files")
def test_no_file_holds_a_path_of_a_machine_or_the_address_of_a_package_index():
    hosts = re.compile(r"--(?:extra-)?index-url|--find-links|pypi\.org/simple|download\.pytorch")
    found = []
    for path in _tracked():
        if path.suffix in {".png", ".ipynb"} or path.parent.parent == ROOT / "tests":
            continue  # notebooks have a test of their own, and tests name what they look for
        text = re.sub(r"https?://\S+", "", path.read_text(encoding="utf-8"))
        if MACHINE_PATH.search(text) or hosts.search(text):
            found.append(path.name)
    assert found == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git to list the project's files")
def test_nothing_tells_anyone_to_install_the_strangers_mlcode():
    pattern = re.compile(
        r"(?:pip|uv|conda)3? (?:pip )?(?:install|add) [^\n`]*(?<![\w./])mlcode\b(?![./])"
    )
    texts = {p.name: p.read_text(encoding="utf-8", errors="ignore") for p in _tracked()}
    telling = {n: pattern.findall(t) for n, t in texts.items() if n != "test_repository.py"}
    warned = re.compile(r"[Nn]ever|[Nn]othing|not ")
    assert {n for n, hits in telling.items() if any(not warned.search(h) for h in hits)} == set()


def test_the_citation_names_this_version_and_licence():
    citation, project = _yaml("CITATION.cff"), _project()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert {"message", "title", "authors", "repository-code"} <= citation.keys()
    assert citation["license"] == ["MIT", "CC-BY-4.0"]
    assert "MIT License" in _text("LICENSE")
    assert "SPDX-License-Identifier: CC-BY-4.0" in _text("LICENSE")


def test_the_changelog_begins_with_this_version():
    first = re.search(r"(?m)^## ([\w.]+)", _text("CHANGELOG.md"))
    assert first[1] == _project()["version"]


def test_the_tests_run_on_every_supported_python():
    matrix = _yaml(".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert _project()["requires-python"] == ">=" + matrix["python"][0]


def test_publishing_asks_first_whether_the_address_is_a_placeholder():
    steps = _yaml(".github/workflows/publish.yml")["jobs"]["build"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs.index("python tools/address.py --publishable") < runs.index("make book")


def test_the_check_before_publishing_needs_no_installed_package():
    command = [sys.executable, "-I", "-S", ROOT / "tools" / "address.py", "--publishable"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in run.stderr
    assert run.returncode == bool(run.stderr)


def test_the_weekly_run_pins_nothing():
    job = _yaml(".github/workflows/weekly.yml")["jobs"]["unpinned"]
    assert job["env"]["PINS"] == ""
    pip = re.findall(r"\$\(PIP\).*", _text("Makefile"))
    assert [line for line in pip if "constraints.txt" in line] == []


def test_ci_runs_the_readmes_two_commands():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"(?m)^timed (.*)$", _text(".ci/run")) == ["make book", "make test"]
    for command in ("make book", "make test"):
        assert command in _text("README.md")


def test_make_help_lists_every_target_that_a_person_calls():
    run = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    phony = re.search(r"(?m)^\.PHONY: (.*)$", _text("Makefile"))[1].split()
    assert {line.split()[0] for line in run.stdout.splitlines()} == set(phony)
