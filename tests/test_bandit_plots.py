import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mlcode.bandit_plots import draw_agreement, draw_games, draw_regret
from mlcode.model_based.bandit_games import Games
from mlcode.plotting import COLOURS


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_a_pull_is_its_arms_letter_and_bright_where_it_paid(ax):
    draw_games(ax, Games(torch.tensor([[0, 1], [1, 1]]), torch.eye(2)), names="AB")
    letters = [(t.get_text(), t.get_position(), t.get_color()) for t in ax.texts]
    blue, grey = COLOURS["blue"], COLOURS["grey"]
    assert letters == [
        ("A", (1, 0), blue),
        ("B", (2, 0), grey),
        ("B", (1, 1), grey),
        ("B", (2, 1), blue),
    ]


def test_regret_is_summed_over_pulls_and_averaged_over_tasks(ax):
    draw_regret(ax, {"a": torch.tensor([[1.0, 0.0], [0.0, 0.5]])})
    (line,) = ax.lines
    assert line.get_xydata().tolist() == [[1, 0.5], [2, 0.75]]
    assert line.get_label() == "a"
    band = ax.collections[0].get_paths()[0].vertices
    half = 1.96 * np.std([1.0, 0.0], ddof=1) / np.sqrt(2)
    assert band[:, 1].max() == pytest.approx(0.5 + half)


def test_cases_that_agree_lie_on_the_line(ax):
    exact = torch.tensor([0.0, 1.0, 3.0])
    draw_agreement(ax, exact, exact)
    dots, line = ax.lines
    assert np.array_equal(dots.get_xdata(), dots.get_ydata())
    assert line.get_xydata().tolist() == [[0, 0], [3, 3]]
