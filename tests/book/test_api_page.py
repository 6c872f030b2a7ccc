"""The API page names every public object of the package."""

import importlib
import pkgutil
import re

import pytest

import mlcode
from tests.book.files import BOOK

ORDER = ["tasks", "learner", "networks", "sources", "optimization", "metric"]
ORDER += ["training", "evaluation", "records", "plotting", "peers"]

# Modules that a reader of the book does not call.
PLUMBING = {
    "mlcode.__main__",
    "mlcode.catalogue.entries",
    "mlcode.catalogue.learners",
    "mlcode.catalogue.sources",
    "mlcode.checkpoints",
    "mlcode.checks",
    "mlcode.command_line",
    "mlcode.command_options",
    "mlcode.comparison_commands",
    "mlcode.engine",
    "mlcode.interrupts",
    "mlcode.optimization.doubts",
    "mlcode.peers.importing",
    "mlcode.peers.install",
    "mlcode.peers.maml_objective",
    "mlcode.peers.metric_losses",
    "mlcode.peers.timing",
    "mlcode.recipes.bandits",
    "mlcode.recipes.baselines_omniglot",
    "mlcode.recipes.comparison_glyphs",
    "mlcode.recipes.comparison_sinusoids",
    "mlcode.recipes.contenders",
    "mlcode.recipes.glyph_contenders",
    "mlcode.recipes.maml_mini_imagenet",
    "mlcode.recipes.maml_omniglot",
    "mlcode.recipes.maml_sinusoid",
    "mlcode.recipes.mann_omniglot",
    "mlcode.recipes.metric_omniglot",
    "mlcode.recipes.metric_training",
    "mlcode.recipes.on_features",
    "mlcode.recipes.register",
    "mlcode.recipes.reproduction",
    "mlcode.recipes.reptile_omniglot",
    "mlcode.recipes.sinusoid_learners",
    "mlcode.runs",
    "mlcode.runs_compared",
    "mlcode.sources.cache",
    "mlcode.sources.download",
    "mlcode.sources.drawing",
    "mlcode.sources.glyph_classes",
    "mlcode.sources.glyph_drawing",
    "mlcode.sources.glyph_shapes",
    "mlcode.sources.omniglot_archives",
    "mlcode.sources.omniglot_splits",
    "mlcode.sources.picking",
    "mlcode.tables",
    "mlcode.tuning_study",
}


def _public(module):
    """The classes and functions that a module defines under a public name."""
    return {
        f"{module.__name__}.{name}"
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
        if callable(thing)
    }


def _page():
    return (BOOK / "appendix" / "api.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(built):
    """The names that have an anchor on the built page."""
    page = (built / "appendix" / "api.html").read_text(encoding="utf-8")
    return set(re.findall(r'id="(mlcode\.[\w.]+)"', page))


def test_every_name_that_the_package_exports_is_on_the_api_page(shown):
    assert set(mlcode.__all__) - {name.rsplit(".", 1)[-1] for name in shown} == set()


def test_every_public_object_of_the_listed_modules_is_on_the_api_page(shown):
    listed = re.findall(r"automodule:: (mlcode[\w.]*)", _page())
    public = {name for module in listed for name in _public(importlib.import_module(module))}
    assert public - shown == set()


def test_no_documentation_is_what_python_wrote_itself(built):
    page = (built / "appendix" / "api.html").read_text(encoding="utf-8")
    assert re.findall(r"Alias for field number|object at 0x|&lt;function|~torch", page) == []


def test_every_module_is_on_the_api_page_or_is_plumbing():
    listed = set(re.findall(r"automodule:: (mlcode[\w.]*)", _page()))
    modules = {m.name for m in pkgutil.walk_packages(mlcode.__path__, "mlcode.") if not m.ispkg}
    assert modules - PLUMBING - listed == set()
    assert PLUMBING - modules == set()


def test_the_api_page_follows_the_order_in_which_the_book_builds_things_up():
    parts = [m.split(".")[1] for m in re.findall(r"automodule:: (mlcode\.[\w.]+)", _page())]
    known = [part for part in dict.fromkeys(parts) if part in ORDER]
    assert known == [part for part in ORDER if part in known]
