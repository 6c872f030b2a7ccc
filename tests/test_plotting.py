import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mlcode.evaluation import Estimate
from mlcode.plotting import COLOURS, draw_losses, draw_results
from mlcode.training import History


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def estimates(n):
    return {f"row {i}": Estimate.of(np.array([i, i + 1.0])) for i in range(n)}


def colours_of(ax):
    return [to_hex(row.lines[0].get_color()).upper() for row in ax.containers]


def test_a_result_has_the_colour_it_is_given(ax):
    draw_results(ax, estimates(3), colours=["grey", "amber", "grey"])
    assert colours_of(ax) == [COLOURS[name].upper() for name in ("grey", "amber", "grey")]


def test_results_differ_in_colour_unless_told_and_show_their_numbers(ax):
    draw_results(ax, estimates(4), spec=".1f")
    assert len(set(colours_of(ax))) == 4
    assert [text.get_text()[:3] for text in ax.texts] == ["0.5", "1.5", "2.5", "3.5"]


def test_losses_of_runs_of_different_lengths_end_where_they_end(ax):
    runs = {"long": np.arange(35.0), "short": np.arange(20.0)}
    draw_losses(ax, {k: History(v, np.ones_like(v)) for k, v in runs.items()}, window=10)
    long, short = ax.lines
    assert long.get_xdata().tolist() == [5, 15, 25]  # five iterations are no window
    assert short.get_xdata().tolist() == [5, 15]
    assert short.get_ydata().tolist() == [4.5, 14.5]
    assert long.get_color() != short.get_color()
