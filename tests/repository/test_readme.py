"""What README.md shows must run and what it names must exist."""

import contextlib
import io
import re

import pytest

from tests.book.files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_prints_an_estimate():
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    shortened = example.replace("n_iterations=3000", "n_iterations=3")
    assert shortened != example
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(shortened, "README.md", "exec"), {})
    assert re.fullmatch(r"\d+\.\d+ ± \d+\.\d+\n", printed.getvalue())


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_every_relative_link_leads_to_a_file(target):
    assert (ROOT / target).exists()
