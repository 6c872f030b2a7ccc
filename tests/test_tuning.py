"""The search over hyperparameters: it finds, it goes on, it never sees a test task."""

import json
import sys

import pytest
import torch
import torch.nn.functional as F

from mlcode import Episodes, Examples, Glyphs, MetaLearner, Sinusoids, Tasks
from mlcode.evaluation import EVALUATION_SEED
from mlcode.metrics import SQUARED_ERROR
from mlcode.sources.frozen import FrozenTasks, freeze
from mlcode.tuning import VALIDATION_SEED, Choice, Range, tune
from mlcode.tuning_tables import sensitivity_table, trial_table
from tests.helpers import random_tasks, seeded

SPACE = {"shift": Range(0, 1), "sign": Choice(("plus", "minus")), "idle": Range(0, 1)}


class Shifted(MetaLearner):
    """Predicts the mean of the support targets plus an error: best is the smallest."""

    def __init__(self, error):
        super().__init__(loss_fn=F.mse_loss)
        self.error = error

    def predict(self, support, query_x):
        return (support.y.mean(0) + self.error).expand(len(query_x), 1)


def fit(setting):
    return Shifted(setting["shift"] * (1 if setting["sign"] == "plus" else -1))


@pytest.fixture(scope="module")
def levels():
    level = torch.randn(20, 1, 1, generator=seeded(3)) + 0.5
    return FrozenTasks(
        Tasks(*[Examples(torch.zeros(20, 3, 1), level.expand(20, 3, 1))] * 2), "validation"
    )


def search(levels, n_trials, file=None, *, fit=fit, space=SPACE, **options):
    return tune(fit, space, levels, n_trials=n_trials, n_tasks=20, file=file, **options)


@pytest.fixture(scope="module")
def found(levels):
    return search(levels, 16)


def settings(tuning):
    return [trial.setting for trial in tuning.trials]


def test_the_best_setting_is_the_one_with_the_smallest_error_tried(found):
    errors = [trial.setting["shift"] ** 2 for trial in found.trials]
    assert found.best.setting == settings(found)[errors.index(min(errors))]
    assert found.best.mean == pytest.approx(min(errors), rel=1e-4)
    assert found.metric == SQUARED_ERROR


def test_later_trials_are_better_than_random_ones(found):
    shifts = [trial.setting["shift"] for trial in found.trials]
    assert sorted(shifts[10:])[3] < sorted(shifts[:10])[5]


def test_the_result_is_sensitive_to_what_matters_and_to_nothing_else(found):
    assert found.sensitivity["shift"] > 0.5
    assert max(found.sensitivity["idle"], found.sensitivity["sign"]) < 0.2
    assert set(found.sensitivity) == set(SPACE)


def test_a_search_that_is_interrupted_goes_on_to_the_same_end(levels, found, tmp_path):
    """Whether by Ctrl-C within a trial, or between two."""
    calls = []

    def interrupted(setting):
        calls.append(setting)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return fit(setting)

    file = tmp_path / "folder" / "search.log"
    with pytest.raises(KeyboardInterrupt):
        search(levels, 16, file, fit=interrupted)
    assert settings(search(levels, 7, file)) == settings(found)[:7]
    whole = search(levels, 16, file)
    assert settings(whole) == settings(found)
    assert whole.sensitivity == found.sensitivity
    assert search(levels, 16, file, fit=None.__class__) == whole, "nothing is left to try"


def test_the_seed_decides(levels, found):
    assert settings(search(levels, 2)) == settings(found)[:2]
    assert settings(search(levels, 2, seed=1)) != settings(found)[:2]


def test_each_training_starts_from_the_same_seed_and_leaves_the_global_generator_alone(levels):
    drawn = []

    def drawing(setting):
        drawn.append(torch.rand(()).item())
        return fit(setting)

    before = torch.get_rng_state()
    search(levels, 3, fit=drawing)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(set(drawn)) == 1


def test_a_training_that_diverges_counts_as_tried_and_as_the_worst(levels):
    def diverging(setting):
        return Shifted(float("nan") if setting["shift"] > 0.3 else setting["shift"])

    found = search(levels, 12, fit=diverging)
    lost = [trial for trial in found.trials if trial.mean is None]
    assert 0 < len(lost) < 12
    assert all("finite" in trial.failure for trial in lost)
    assert found.best.setting["shift"] <= 0.3
    assert "diverged" in trial_table(found.as_dict())
    with pytest.raises(ValueError, match="all 2 trainings diverged, the first with: expected fin"):
        search(levels, 2, fit=lambda setting: Shifted(float("nan")))


def test_another_error_of_a_training_is_not_hidden(levels):
    def broken(setting):
        raise ValueError("by design")

    with pytest.raises(ValueError, match="by design"):
        search(levels, 2, fit=broken)


def test_results_that_are_all_alike_are_sensitive_to_nothing(levels):
    found = search(levels, 3, fit=lambda setting: Shifted(0.0))
    assert found.sensitivity == {}
    assert "variance" not in str(found)


def test_tables_and_record_agree(found):
    result = json.loads(json.dumps(found.as_dict()))
    assert trial_table(result) == trial_table(found.as_dict())
    lines = trial_table(result).splitlines()
    assert len(lines) == 18
    assert "| best |" in lines[2 + result["best"]]
    assert sensitivity_table(result).splitlines()[2].startswith("| shift |")
    assert f"hash {found.digest}" in str(found)
    assert "variance" in str(found)


def test_validation_tasks_are_not_those_of_the_final_evaluation():
    assert VALIDATION_SEED != EVALUATION_SEED
    space = {"shift": Range(0.0, 1.0)}
    found = tune(fit_plain, space, Sinusoids(), n_trials=1, n_tasks=5, drawn_anew=True)
    assert found.digest == freeze(Sinusoids(), 5, generator=seeded(VALIDATION_SEED)).digest


def fit_plain(setting):
    return Shifted(setting["shift"])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (lambda: Episodes(Glyphs("test"), 3, 1, 1), "validation split; got the split 'test'"),
        (lambda: Episodes(Glyphs("train"), 3, 1, 1), "validation split; got the split 'train'"),
        (Sinusoids, "Sinusoids does not say which split.*drawn_anew=True"),
        (lambda: FrozenTasks(random_tasks(4, 2, 2, (1,), (1,))), "does not say which split"),
        (lambda: FrozenTasks(random_tasks(4, 2, 2, (1,), (1,)), "test"), "got the split 'test'"),
    ],
)
def test_tasks_that_are_not_for_validation_are_refused(source, says):
    with pytest.raises(ValueError, match=says):
        tune(fit, SPACE, source(), n_trials=1)


def test_a_test_split_is_refused_even_where_somebody_says_that_it_is_drawn_anew():
    with pytest.raises(ValueError, match="got the split 'test'"):
        tune(fit, SPACE, Episodes(Glyphs("test"), 3, 1, 1), n_trials=1, drawn_anew=True)


def test_a_search_is_not_continued_as_another(levels, tmp_path):
    file = tmp_path / "search.log"
    search(levels, 1, file, about="a shift")
    for options, says in [
        ({"about": "a rate"}, "about: a shift, not a rate"),
        ({"seed": 4}, "seed: 0, not 4"),
        ({"space": SPACE | {"idle": Range(0, 2)}}, r"idle: Range\(low=0, high=1.*high=2"),
        ({"space": {"shift": SPACE["shift"], "sign": SPACE["sign"]}}, "idle: Range.*, not none"),
    ]:
        with pytest.raises(ValueError, match=says):
            search(levels, 2, file, **{"about": "a shift"} | options)
    with pytest.raises(ValueError, match=r"tasks: 20 of hash .*, not 10 of hash"):
        tune(fit, SPACE, levels, n_trials=2, n_tasks=10, file=file, about="a shift")


@pytest.mark.parametrize("content", ["no journal\n", "[1, 2]\n", "{}\n"])
def test_a_file_that_holds_something_else_is_named(levels, tmp_path, content):
    file = tmp_path / "search.log"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"search.log holds something else than a search"):
        search(levels, 1, file)
    assert file.read_text() == content


@pytest.mark.parametrize("missing", ["optuna", "sklearn"])
def test_without_the_library_it_says_what_to_install(levels, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"{missing} is not installed.*pip install optuna"):
        search(levels, 1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Range(1, 1), ValueError, "low < high; got 1 twice"),
        (lambda: Range(2, 1), ValueError, "low <= high"),
        (lambda: Range(0, 1, log=True), ValueError, "must lie above 0; got low=0"),
        (lambda: Range(1, 2.5, integer=True), TypeError, "high must be an integer; got 2.5"),
        (lambda: Choice((1,)), ValueError, "two or more different options"),
        (lambda: Choice((1, 1)), ValueError, "two or more different options"),
        (lambda: Choice((F.mse_loss, 1)), TypeError, "numbers, strings, booleans and None"),
        (lambda: tune(fit, {}, Sinusoids(), n_trials=1), ValueError, "nothing to search"),
        (lambda: tune(fit, {"a": 3}, Sinusoids(), n_trials=1), TypeError, "a must be a Range"),
        (lambda: tune(fit, SPACE, Sinusoids(), n_trials=0), ValueError, "n_trials must be at le"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_integers_and_choices_arrive_as_what_they_are(levels):
    space = {"k": Range(1, 3, integer=True), "on": Choice((True, None, 2.5, "x"))}
    for setting in settings(search(levels, 4, space=space, fit=lambda s: Shifted(0.0))):
        assert type(setting["k"]) is int
        assert setting["on"] in (True, None, 2.5, "x")
