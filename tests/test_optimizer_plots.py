import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mlcode.optimizer_plots import draw_rates, draw_ratios, draw_runs, draw_update


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def drawn(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def test_every_rate_is_a_dot_in_its_row_and_negative_ones_are_counted(ax):
    draw_rates(ax, {"a": torch.tensor([[0.2, -0.1], [0.4, 0.3]]), "b": torch.ones(1)}, start=0.1)
    dots = ax.lines[0]
    assert np.allclose(dots.get_xdata(), [-0.1, 0.2, 0.3, 0.4])
    assert (abs(dots.get_ydata()) <= 0.35).all()
    assert [text.get_text() for text in ax.texts] == ["25% negative", "0% negative"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]


def test_a_run_is_the_mean_over_problems_and_ends_where_one_diverges(ax):
    losses = torch.tensor([[4.0, 2.0, 1.0], [2.0, 1.0, math.inf]])
    draw_runs(ax, {"rule": losses}, trained=1)
    assert np.allclose(drawn(ax, "rule").get_ydata(), [3.0, 1.5, np.nan], equal_nan=True)
    assert ax.get_yscale() == "log"


def test_an_update_is_coloured_on_the_scale_that_is_given(ax):
    at = torch.linspace(-1, 1, 5)
    draw_update(ax, at, at[:3], torch.ones(3, 5) * torch.linspace(-1, 1, 5), largest=2.0)
    mesh = ax.collections[0]
    assert mesh.get_clim() == (-2.0, 2.0)
    assert mesh.get_array().shape == (3, 5)


def test_a_ratio_out_of_bounds_stands_hollow_at_the_edge(ax):
    rows = {"one": {"a": 0.5, "b": math.inf}, "two": {"a": 7.0, "b": math.nan}}
    draw_ratios(ax, rows, largest=100.0)
    assert drawn(ax, "a").get_xdata().tolist() == [0.5, 7.0]
    assert drawn(ax, "b").get_xdata().size == 0
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata().tolist() for line in hollow] == [[], [100.0, 100.0]]
    assert hollow[1].get_ydata().tolist() == [0, 1]
