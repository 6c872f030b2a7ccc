"""What `reproduce` writes, and that no run can pass for another."""

import json
import os
import shlex
import signal

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.optim import Adam

from mlcode import MAML, MLP, Estimate, Sinusoids, evaluate, train
from mlcode.command_line import main
from mlcode.recipes import RECIPES, Options, Recipe, Result, Target, reproduce
from mlcode.recipes.recipe import in_words
from mlcode.records import read_record

TARGET = Target(4.0, 0.0, "Finn et al., 2017, table 2", "finn2017", metric="mean squared error")


class Stopped(Sinusoids):
    """Ctrl-C, once, while the fifth batch is drawn."""

    left = 5

    def sample(self, *arguments, **options):
        type(self).left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().sample(*arguments, **options)


def small(source_type=Sinusoids) -> Recipe:
    """A real recipe that takes no time."""

    def run(options):
        torch.manual_seed(options.seed)
        learner = MAML(MLP(1, 4, 1)).to(options.device)
        train(
            learner,
            source_type(),
            n_iterations=options.n_iterations or 9,
            n_tasks=2,
            optimizer=Adam(learner.parameters()),
            generator=torch.Generator().manual_seed(options.seed),
            checkpoint=options.checkpoint,
        )
        estimate = evaluate(learner, Sinusoids(), 5)
        return [Result("10 shots", estimate, TARGET, "mean squared error")], {"more": [1, 2]}

    return Recipe(
        "small-waves",
        "MAML, a few waves",
        "10 shots",
        "no time",
        {"n_iterations": 9, "n_tasks": 2},
        run,
        target=TARGET,
        deviations=("hardly any waves",),
    )


def test_a_record_says_what_was_run_on_what_and_what_came_of_it(tmp_path):
    path = reproduce(small(), Options(), folder=tmp_path / "new")
    record = read_record("small_waves", folder=tmp_path / "new")
    assert path.name == "small_waves.json"
    result = record["result"]
    assert 0 <= result.pop("seconds") < 60
    (row,) = result.pop("results")
    assert result == {
        "recipe": "small-waves",
        "title": "MAML, a few waves",
        "settings": {"n_iterations": 9, "n_tasks": 2},
        "seed": 0,
        "deviations": ["hardly any waves"],
        "resumed": False,
        "more": [1, 2],
    }
    assert row.keys() == {
        "protocol", "metric", "mean", "interval", "n_tasks", "verdict", "target",
    }  # fmt: skip
    assert row["target"]["source"] == "Finn et al., 2017, table 2"
    assert {"torch", "processor", "device", "date"} <= record["environment"].keys()


@pytest.mark.parametrize(
    ("options", "name", "deviations"),
    [
        (Options(), "small_waves", 1),
        (Options(n_iterations=9), "small_waves", 1),
        (Options(n_iterations=3), "small_waves_3_iterations", 2),
        (Options(seed=2), "small_waves_seed_2", 1),
        (Options(seed=2, n_iterations=3), "small_waves_3_iterations_seed_2", 2),
    ],
)
def test_a_run_that_differs_has_a_name_of_its_own_and_says_how(tmp_path, options, name, deviations):
    assert reproduce(small(), options, folder=tmp_path).stem == name
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.pt"}
    result = read_record(name, folder=tmp_path)["result"]
    assert len(result["deviations"]) == deviations
    assert result["settings"]["n_iterations"] == (options.n_iterations or 9)


def test_a_run_is_neither_repeated_over_another_nor_continued_as_another(tmp_path):
    reproduce(small(), Options(), folder=tmp_path)
    before = (tmp_path / "small_waves.pt").read_bytes()
    with pytest.raises(ValueError, match=r"holds a run of it, small_waves\.pt.*--resume"):
        reproduce(small(), Options(), folder=tmp_path)
    reproduce(small(), Options(seed=1), folder=tmp_path, resume=True)
    assert (tmp_path / "small_waves.pt").read_bytes() == before


@pytest.fixture
def _ctrl_c_as_at_a_prompt():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_as_at_a_prompt")
def test_interrupted_it_goes_on_and_gives_the_same_result(tmp_path, monkeypatch):
    whole = reproduce(small(), Options(), folder=tmp_path / "whole")
    monkeypatch.setitem(RECIPES, "small-waves", small(Stopped))
    monkeypatch.setattr(Stopped, "left", 5)
    folder = tmp_path / "a folder"
    done = CliRunner().invoke(main, ["reproduce", "small-waves", "--out", str(folder)])
    assert done.exit_code == 130
    assert "saved after iteration 5." in done.stderr
    assert not (folder / "small_waves.json").exists()
    again = shlex.split(done.stderr.splitlines()[-1])
    done = CliRunner().invoke(main, again[3:])
    assert done.exit_code == 0, done.output
    results = [
        json.loads(path.read_text())["result"] for path in (whole, folder / "small_waves.json")
    ]
    assert results[0]["results"] == results[1]["results"]
    assert [result["resumed"] for result in results] == [False, True]
    assert "better by" in done.stdout or "worse by" in done.stdout or "within" in done.stdout


def test_without_a_folder_it_makes_one_under_the_recipes_name(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "small-waves", small())
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["reproduce", "small-waves"]).exit_code == 0
    assert (tmp_path / "runs" / "small-waves" / "small_waves.json").is_file()


@pytest.mark.parametrize(
    ("recipe", "options", "reason"),
    [
        ("pixels-omniglot", Options(n_iterations=3), "trains nothing"),
        ("pixels-omniglot", Options(seed=1), "its own seeds"),
        ("maml-sinusoid", Options(seed=1), "its own seeds"),
        ("features-omniglot", Options(n_iterations=0), "at least 1"),
        ("features-omniglot", Options(seed=-1), "at least 0"),
    ],
)
def test_an_option_that_means_nothing_is_refused_before_anything_runs(
    tmp_path, recipe, options, reason
):
    with pytest.raises(ValueError, match=reason):
        reproduce(RECIPES[recipe], options, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def estimate(mean, interval=0.01):
    return Estimate(mean, interval, 600, np.empty(0))


ACCURACY = Target(0.95, 0.01, "a paper", "finn2017")
AT_LEAST_97 = Target(0.987, 0.004, "a paper", "finn2017", 0.97)


@pytest.mark.parametrize(
    ("mean", "target", "verdict"),
    [
        (0.95, ACCURACY, "within the intervals"),
        (0.931, ACCURACY, "within the intervals"),
        (0.929, ACCURACY, "below by 2.10 points"),
        (0.975, ACCURACY, "above by 2.50 points"),
        (0.97, AT_LEAST_97, "reached"),
        (0.965, AT_LEAST_97, "below the target by 0.50 points"),
        (0.5, None, "no figure to hold it against"),
    ],
)
def test_the_verdict_compares_with_both_intervals_or_with_the_least(mean, target, verdict):
    assert Result("p", estimate(mean), target).verdict() == verdict


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(0.67, "within the intervals"), (0.5, "better by 0.17"), (0.8, "worse by 0.13")],
)
def test_less_of_an_error_is_better(mean, verdict):
    target = Target(0.67, 0.0, "a paper", "finn2017", metric="mean squared error")
    assert Result("p", estimate(mean), target, "mean squared error").verdict() == verdict


def test_a_result_without_a_mean_says_how_many_tasks_diverged():
    row = Result("p", None, ACCURACY, n_diverged=3)
    assert row.verdict() == "3 task(s) diverged"
    assert (row.as_dict()["mean"], row.as_dict()["interval"]) == (None, None)


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ({"mean": 0.987, "interval": 0.004}, "98.7 ± 0.4 %"),
        ({"mean": 0.9739, "interval": 0.00678}, "97.39 ± 0.68 %"),
        ({"mean": 0.988, "interval": 0.0}, "98.8 %"),
        ({"mean": 0.67, "interval": 0.0, "metric": "mean squared error"}, "0.67"),
        ({"mean": 0.565, "interval": 0.054, "metric": "mean squared error"}, "0.56 ± 0.05"),
        ({"mean": None, "interval": None}, "no mean"),
    ],
)
def test_figures_are_written_with_their_intervals(figure, words):
    assert in_words(figure) == words
