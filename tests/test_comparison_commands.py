"""`python -m mlcode compare` and `tune`."""

import json
import shlex

import pytest

from mlcode.comparison_commands import KINDS
from mlcode.runs import read_setting
from mlcode.runs_compared import parsed_space
from mlcode.tuning_space import Choice, Range
from tests.test_command_line import SHORT, mlcode, says

TUNE = ("tune", "maml", "sinusoids", *SHORT, "--n-validation-tasks", 4)
SEARCH = ("--search", "inner_lr=0.001:0.1:log", "--search", "n-inner-steps=1:2")


def trained(folder, learner="maml", source="sinusoids", *options):
    done = mlcode("train", learner, source, *SHORT, *options, "--out", folder)
    assert done.exit_code == 0, done.output
    return folder


def test_runs_are_compared_on_the_same_tasks(tmp_path):
    runs = [trained(tmp_path / name, name) for name in ("maml", "anil")]
    runs.append(trained(tmp_path / "again", "maml", "sinusoids", "--seed", 1))
    found = json.loads(mlcode("compare", *runs, "--n-tasks", 5, "--json").stdout)
    assert [(s["name"], s["n_trainings"]) for s in found["scores"]] == [("maml", 2), ("anil", 1)]
    assert found["n_tasks"] == 5
    measured = json.loads(mlcode("evaluate", runs[1], "--n-tasks", 5, "--json").stdout)
    assert found["scores"][1]["mean"] == pytest.approx(measured["mean"], rel=1e-6)
    text = mlcode("compare", *runs, "--n-tasks", 5).stdout
    assert "maml − anil" in text
    assert found["tasks"] in text


def test_two_settings_of_one_learner_are_named_by_what_differs(tmp_path):
    runs = [trained(tmp_path / r, "maml", "sinusoids", "--inner-lr", r) for r in ("0.01", "0.02")]
    found = json.loads(mlcode("compare", *runs, "--n-tasks", 3, "--json").stdout)
    assert [s["name"] for s in found["scores"]] == ["maml inner_lr=0.01", "maml inner_lr=0.02"]


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    first = trained(tmp_path / "first")
    other = trained(tmp_path / "other", "maml", "sinusoids", "--n-shot", 3)
    said = says("compare", first, other)
    assert "n_shot 3 and not 10" in said
    assert "named twice" in says("compare", first, first)
    assert "holds no run" in says("compare", first, tmp_path)
    assert "n_tasks must be at least 2" in says("compare", first, "--n-tasks", 1)


def test_a_search_ends_with_the_command_that_trains_the_best(tmp_path):
    out = tmp_path / "a search"
    done = mlcode(*TUNE, *SEARCH, "--n-trials", 3, "--out", out)
    assert done.exit_code == 0, done.output
    assert "best" in done.stdout
    last = shlex.split(done.stdout.splitlines()[-1].split(": ", 1)[1])
    assert last[:5] == ["python", "-m", "mlcode", "train", "maml"]
    assert mlcode(*last[3:]).exit_code == 0
    setting = read_setting(out / "best")
    assert 0.001 <= setting.inner_lr <= 0.1
    assert setting.n_inner_steps in (1, 2)
    assert setting.n_iterations == 3


def test_a_search_goes_on_where_it_is_asked_to_and_ends_as_one_left_alone(tmp_path):
    def trials(text):
        rows = [line.split() for line in text.splitlines() if line[:1].isdigit()]
        return [row[:-1] for row in rows if "validation" not in row]  # without the time

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    alone = mlcode(*TUNE, *SEARCH, "--n-trials", 4, "--out", whole)
    mlcode(*TUNE, *SEARCH, "--n-trials", 2, "--out", parts)
    assert "--resume" in says(*TUNE, *SEARCH, "--n-trials", 4, "--out", parts)
    resumed = mlcode(*TUNE, *SEARCH, "--n-trials", 4, "--out", parts, "--resume")
    assert trials(resumed.stdout) == trials(alone.stdout)
    assert len(trials(alone.stdout)) == 4
    assert "n_tasks 2, n_iterations 3" in says(
        *TUNE, *SEARCH, "--meta-lr", 0.1, "--n-trials", 4, "--out", parts, "--resume"
    )


@pytest.mark.parametrize(
    ("searches", "says_so"),
    [
        (["inner_rl=1:2"], "Did you mean 'inner_lr'?"),
        (["n_way=2:5"], "what is searched must be one of"),
        (["inner_lr=1"], "two or more different options"),
        (["inner_lr=2:1"], "low <= high"),
        (["inner_lr=a:b"], "could not convert string to float"),
        (["inner_lr=1:2:lin"], "'lin' is not 'log'"),
        (["inner_lr=1:2", "inner_lr=1:3"], "inner_lr is searched twice"),
        (["n_iterations=1:2"], "n_iterations is given and searched"),
        (["statistics=query,support"], "statistics would have no effect"),
    ],
)
def test_what_cannot_be_searched_is_refused(searches, says_so, tmp_path):
    options = [part for text in searches for part in ("--search", text)]
    assert says_so in says(*TUNE, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_learner_without_training_cannot_be_tuned(tmp_path):
    said = says("tune", "pixels", "glyphs", "--search", "meta_lr=1:2", "--out", tmp_path / "out")
    assert "pixels has nothing to train" in said


def test_what_is_searched_is_read_from_text():
    texts = ["inner-lr=0.01:1:log", "n_inner_steps=1:5", "statistics=query, support"]
    assert parsed_space(texts, KINDS) == {
        "inner_lr": Range(0.01, 1.0, log=True),
        "n_inner_steps": Range(1, 5, integer=True),
        "statistics": Choice(("query", "support")),
    }
