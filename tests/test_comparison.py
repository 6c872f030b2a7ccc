"""Learners on the same tasks: laws of the comparison, and what it refuses."""

import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from mlcode import (
    MAML,
    Episodes,
    Examples,
    Glyphs,
    MetaLearner,
    PrototypicalNetwork,
    Sinusoids,
    Tasks,
    accuracy,
    evaluate,
)
from mlcode.comparison import LearnerComparison, Score, compare
from mlcode.comparison_tables import difference_table, explanation, score_table, standings
from mlcode.metrics import ACCURACY, SQUARED_ERROR, Metric, squared_error
from mlcode.sources.frozen import FrozenTasks, freeze
from tests.helpers import random_tasks, reseed, seeded, smooth_net, snapshot

SOURCE = Sinusoids(dtype=torch.float64)


class Mean(MetaLearner):
    """Predicts the mean of the support targets, plus an error."""

    def __init__(self, error=0.0):
        super().__init__(loss_fn=F.mse_loss)
        self.error = error

    def predict(self, support, query_x):
        return (support.y.mean(0) + self.error).expand(len(query_x), 1)


class Guess(MetaLearner):
    """Always names the first class."""

    def __init__(self, n_way):
        super().__init__(loss_fn=F.cross_entropy)
        self._n_way = n_way

    @property
    def n_way(self):
        return self._n_way

    def predict(self, support, query_x):
        return F.one_hot(torch.zeros(len(query_x), dtype=torch.long), self._n_way).double()


class Vandal(Mean):
    def predict(self, support, query_x):
        query_x.zero_()
        return super().predict(support, query_x)


def levels(n_tasks=40):
    """Each task is a level with noise around it."""
    draw = seeded(3)
    level = torch.randn(n_tasks, 1, 1, generator=draw, dtype=torch.float64)
    noise = [0.3 * torch.randn(n_tasks, 6, 1, generator=draw, dtype=torch.float64) for _ in "ab"]
    return Tasks(*(Examples(torch.zeros_like(y), level + y) for y in noise))


def classes(n_way=3):
    """Pure noise with labels."""
    return random_tasks(20, 6, 9, (4,), (), classes=n_way)


def test_the_values_are_those_of_evaluate_on_the_same_tasks():
    learner = MAML(smooth_net(), n_inner_steps=2)
    found = compare({"maml": learner}, SOURCE, n_tasks=7).scores[0]
    expected = evaluate(learner, SOURCE, 7, metric=squared_error)
    assert list(found.values[0]) == list(expected.values)
    assert found.over_tasks.mean == expected.mean
    assert found.interval == expected.interval


def test_a_source_is_drawn_once_and_the_hash_names_what_was_drawn():
    found = compare({"mean": Mean(), "again": Mean()}, SOURCE, n_tasks=5, generator=seeded(2))
    frozen = freeze(SOURCE, 5, generator=seeded(2))
    assert found.digest == frozen.digest
    assert found.digest == compare({"other": Mean(1.0)}, frozen).digest
    assert found.digest == compare({"other": Mean(1.0)}, frozen.tasks).digest
    assert compare({"fewer": Mean()}, frozen, n_tasks=4).digest != found.digest


def test_the_same_learner_twice_differs_by_exactly_zero():
    learners = [MAML(smooth_net()), MAML(smooth_net())]
    (difference,) = compare(dict(zip("ab", learners)), SOURCE, n_tasks=9).differences()
    assert (difference.mean, difference.interval, difference.p) == (0.0, 0.0, 1.0)
    assert not difference.told_apart


def test_a_learner_that_is_better_by_construction_is_found():
    found = compare({"off": Mean(0.3), "mean": Mean(), "near": Mean(1e-3)}, levels())
    assert standings(found.as_dict()) == {"off": "", "mean": "best", "near": "not told apart"}
    off, _, near = found.differences()
    assert off.told_apart
    assert off.mean > off.interval > 0
    assert not near.told_apart


def test_the_test_of_a_pair_is_scipys_on_the_two_columns_of_values():
    found = compare({"a": Mean(), "b": Mean(0.1), "c": Mean(-0.2)}, levels())
    columns = {score.name: score.values[0] for score in found.scores}
    for pair in found.differences():
        expected = stats.ttest_rel(columns[pair.first], columns[pair.second])
        assert pair.p == pytest.approx(expected.pvalue, abs=1e-12)
    p = sorted(pair.p for pair in found.differences())
    assert min(pair.p_holm for pair in found.differences()) == pytest.approx(3 * p[0])


def test_higher_is_better_for_accuracy_and_lower_for_an_error():
    assert compare({"guess": Guess(3)}, classes()).metric == ACCURACY
    assert compare({"mean": Mean()}, levels()).metric == SQUARED_ERROR
    turned = Metric("steps", squared_error, "higher")
    found = compare({"off": Mean(2.0), "mean": Mean()}, levels(), metric=turned)
    assert standings(found.as_dict())["off"] == "best"


def test_intervals_over_tasks_and_over_trainings_by_hand():
    values = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 7.0]])  # means 2 and 4; tasks 1.5, 2.5, 5
    score = Score("a", values, 0.0, 0)
    tasks = 1.96 * np.std([1.5, 2.5, 5.0], ddof=1) / math.sqrt(3)
    trainings = stats.t.ppf(0.975, 1) * math.sqrt(2) / math.sqrt(2)
    assert score.over_tasks.mean == 3
    assert score.over_tasks.interval == pytest.approx(tasks)
    assert score.over_trainings == pytest.approx(trainings)
    assert score.interval == pytest.approx(math.hypot(tasks, trainings))


def test_the_interval_of_both_covers_the_truth_at_least_95_times_in_100():
    """Tasks, trainings, and what both have in common; over 400 repetitions, at least 370."""
    draw, covered = np.random.default_rng(0), 0
    for _ in range(400):
        task, seed = draw.normal(size=50), 0.2 * draw.normal(size=(4, 1))
        values = task + seed + 0.5 * draw.normal(size=(4, 50))
        score = Score("a", values, 0.0, 0)
        covered += abs(score.over_tasks.mean) < score.interval
    assert covered >= 370


def test_a_single_training_has_no_interval_over_trainings():
    found = compare({"one": Mean(), "three": [Mean(e) for e in (0.0, 0.1, 0.3)]}, levels())
    one, three = found.scores
    assert one.over_trainings is None
    assert three.over_trainings > 0
    assert three.interval > three.over_tasks.interval
    assert three.values.shape == (3, 40)
    rows = found.as_dict()["scores"]
    assert [row["n_trainings"] for row in rows] == [1, 3]
    assert "another training of one may differ by more" in explanation(found.as_dict())


def test_more_inner_steps_take_more_memory_and_every_learner_takes_time():
    steps = {f"{k} steps": MAML(smooth_net(), n_inner_steps=k) for k in (1, 8)}
    few, many = compare(steps, SOURCE, n_tasks=3).scores
    assert many.peak_bytes >= few.peak_bytes > 0
    assert min(few.seconds, many.seconds) > 0


def test_learners_are_left_as_they_were():
    learner = MAML(reseed(smooth_net(), 1)).train()
    before = snapshot(learner)
    compare({"maml": learner}, SOURCE, n_tasks=3)
    assert learner.training
    assert all(torch.equal(before[name], value) for name, value in snapshot(learner).items())


def test_the_result_fits_a_record_and_its_tables_are_those_of_the_record():
    found = compare({"a": Mean(), "b": [Mean(0.2), Mean(0.1)]}, levels()).as_dict()
    recorded = json.loads(json.dumps(found))
    for table in (score_table, difference_table):
        assert table(recorded) == table(found)
    assert explanation(recorded) == explanation(found)


def test_the_tables_show_the_numbers():
    result = compare({"off": Mean(0.5), "mean": Mean()}, levels()).as_dict()
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in score_table(result).splitlines()]
    assert [row[0] for row in rows] == ["learner", "---", "off", "mean"]
    row, score = rows[3], result["scores"][1]
    assert row[1:5] == ["best", f"{score['mean']:.3g} ± {score['interval']:.3g}", row[3], ""]
    assert row[3] == f"± {score['over_tasks']:.3g}"
    text = difference_table(result, style="text")
    assert "off − mean" in text
    assert "< 0.001" in text
    assert "|" not in text


def test_accuracy_is_in_per_cent_and_a_difference_in_points():
    values = [np.array([[0.5, 0.75, 0.25]]), np.array([[0.75, 0.75, 0.5]])]
    scores = tuple(Score(name, v, 0.001, 2**20) for name, v in zip("ab", values))
    result = LearnerComparison(scores, ACCURACY, "0" * 16, 3).as_dict()
    assert "50.00 ± 28.29" in score_table(result)
    assert "−16.67 ±" in difference_table(result)
    assert "points" in difference_table(result)


def test_print_shows_everything():
    text = str(compare({"off": Mean(0.5), "mean": Mean()}, levels()))
    assert "hash" in text
    assert "off − mean" in text
    assert "40 tasks" in text
    assert str(compare({"mean": Mean()}, levels())).count("\n\n") == 1, "one learner has no pairs"


def test_images_are_compared_by_accuracy():
    source = Episodes(Glyphs("test"), n_way=3, n_shot=1, n_query=2, dtype=torch.float64)
    found = compare(
        {"guess": Guess(3), "pixels": PrototypicalNetwork(nn.Flatten(1))}, source, n_tasks=60
    )
    guess, pixels = found.scores
    assert guess.over_tasks.mean == pytest.approx(1 / 3)
    assert found.differences()[0].told_apart
    assert pixels.over_tasks.mean > 0.5
    expected = evaluate(PrototypicalNetwork(nn.Flatten(1)), source, 60, metric=accuracy)
    assert list(pixels.values[0]) == list(expected.values)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("learners", "tasks", "says"),
    [
        ({}, levels(), "there is no learner to compare"),
        ([("a", Mean()), ("a", Mean(1.0))], levels(), "the name 'a' stands for two learners"),
        ({"a": []}, levels(), "'a' has no training; its list is empty"),
        ({"a": Mean()}, levels(1), "n_tasks must be at least 2; got 1"),
        ({"a": Guess(3), "b": Guess(5)}, classes(3), "have 3 classes; b names 5"),
        ({"a": Guess(5), "b": Guess(5)}, classes(3), "have 3 classes; a names 5, b names 5"),
        ({"a": Mean(), "b": Mean(math.nan)}, levels(), "b: expected finite values"),
        ({"a": Mean(), "v": Vandal()}, FrozenTasks(random_tasks(3, 2, 2, (1,), (1,))), "v wrote"),
    ],
)
def test_what_cannot_be_compared_is_refused(learners, tasks, says):
    with pytest.raises(ValueError, match=says):
        compare(learners, tasks)


@pytest.mark.usefixtures("unchecked")
def test_a_network_is_no_learner():
    with pytest.raises(TypeError, match=r"a MetaLearner, .* got Sequential"):
        compare({"net": smooth_net()}, levels())


@pytest.mark.usefixtures("unchecked")
def test_a_metric_has_a_better_end():
    with pytest.raises(ValueError, match="better must be one of 'higher', 'lower'; got 'more'"):
        Metric("steps", squared_error, "more")


@pytest.mark.usefixtures("unchecked")
def test_squared_error_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="would not compare them one by one"):
        squared_error(torch.zeros(4, 1), torch.zeros(4))
