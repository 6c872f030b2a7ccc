import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mlcode.comparison import LearnerComparison, Score
from mlcode.comparison_plots import draw_comparison, draw_trials
from mlcode.metrics import ACCURACY, SQUARED_ERROR
from mlcode.plotting import COLOURS
from mlcode.tuning import Trial, Tuning


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def comparison(n=3, metric=ACCURACY):
    """The first is the best, two trainings of the second say little, the others are far away."""
    noise = 0.02 * np.random.default_rng(0).normal(size=(1, 50))
    trainings = np.array([[0.85], [0.94]])
    values = [0.9 + noise, trainings + noise, *[0.5 - 0.01 * i + noise**2 for i in range(n - 2)]]
    scores = [Score(f"learner {i}", v, 0.0, 0) for i, v in enumerate(values)]
    return LearnerComparison(tuple(scores), metric, "0" * 16, 50).as_dict()


def colours_of(ax):
    return [to_hex(row.lines[0].get_color()).upper() for row in ax.containers]


def test_the_colour_says_who_is_best_and_who_is_not_told_apart(ax):
    draw_comparison(ax, comparison())
    assert colours_of(ax) == [COLOURS[name].upper() for name in ("blue", "sky", "grey")]


def test_a_row_shows_its_mean_and_both_intervals(ax):
    result = comparison()
    draw_comparison(ax, result)
    for row, score in zip(ax.containers, result["scores"], strict=True):
        assert row.lines[0].get_xdata()[0] == pytest.approx(100 * score["mean"])
    low, high = sorted(ax.collections[1].get_segments()[0][:, 0])
    assert (high - low) / 2 == pytest.approx(100 * result["scores"][1]["interval"])
    texts = [text.get_text() for text in ax.texts]
    assert texts[0] == f"{100 * result['scores'][0]['mean']:.1f} ± " + (
        f"{100 * result['scores'][0]['interval']:.1f}"
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        score["name"] for score in result["scores"]
    ]


def test_twenty_learners_are_twenty_rows_in_colours_of_ones_own(ax):
    draw_comparison(ax, comparison(20, SQUARED_ERROR), colours=["amber"] * 20)
    assert colours_of(ax) == [COLOURS["amber"].upper()] * 20
    assert "lower is better" in ax.get_xlabel()


def search():
    trials = (
        Trial({"rate": 0.01, "rule": "sgd"}, 0.7, 0.01, 1.0),
        Trial({"rate": 0.1, "rule": "adam"}, 0.8, 0.01, 1.0),
        Trial({"rate": 1.0, "rule": "adam"}, None, None, 1.0, "is not finite"),
    )
    return Tuning(trials, ACCURACY, "0" * 16, 50, {}).as_dict()


def test_each_trial_is_a_point_and_one_that_diverged_a_cross_at_the_worst(ax):
    draw_trials(ax, search(), "rate")
    assert ax.get_xscale() == "log"
    assert [row.lines[0].get_xdata()[0] for row in ax.containers] == [0.01, 0.1]
    assert colours_of(ax) == [COLOURS["blue"].upper(), COLOURS["orange"].upper()]
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (1.0, pytest.approx(70.0))


def test_choices_stand_side_by_side(ax):
    draw_trials(ax, search(), "rule")
    assert ax.get_xscale() == "linear"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["sgd", "adam"]


def test_what_was_not_searched_cannot_be_drawn(ax):
    with pytest.raises(ValueError, match="Did you mean 'rate'"):
        draw_trials(ax, search(), "rat")
