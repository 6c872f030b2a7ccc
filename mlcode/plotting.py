"""The book's pictures: one style, colours that the colour-blind can tell apart, intervals drawn.

Every function draws into an `Axes` that it is given, so that a chapter composes its own figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mlcode.evaluation import Estimate
from mlcode.training import History

# Okabe and Ito's palette, without its yellow, which is too light for lines on white.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "amber": "#E69F00",
    "black": "#222222",
    "grey": "#7F7F7F",
}
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.prop_cycle": plt.cycler(color=list(COLOURS.values())),
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}


def figure(n_columns: int = 1, *, height: float = 3.0, **options: Any) -> tuple[Figure, Any]:
    """A row of `n_columns` axes across the page, `height` inches high, in the book's style.

    Sets that style for what is drawn from then on. `options` go to `plt.subplots`. Returns what it
    returns: the figure, and one axes or an array of them.
    """
    plt.rcParams.update(STYLE)  # not a context: legends and titles come after this call
    return plt.subplots(1, n_columns, figsize=(7.6, height), layout="constrained", **options)


def draw_adaptation(
    ax: Axes,
    x: Float[Tensor, "point 1"],
    truth: Float[Tensor, "point 1"],
    support: tuple[Float[Tensor, "example 1"], Float[Tensor, "example 1"]],
    predictions: Mapping[str, Float[Tensor, "point 1"]],
) -> None:
    """A one-dimensional task, its support points, and what a learner predicts at each stage.

    Args:
        ax: Where to draw.
        x: Inputs along the curve, in order.
        truth: The task's true values there.
        support: The points (x, y) the learner adapted to.
        predictions: A label for each stage with its predictions at `x`, earliest first; later
            stages are drawn darker.
    """
    ax.plot(_flat(x), _flat(truth), color=COLOURS["black"], lw=1, ls=":", label="true wave")
    shades = plt.get_cmap("YlOrBr")(np.linspace(0.35, 0.85, len(predictions)))
    for colour, (label, y) in zip(shades, predictions.items()):
        ax.plot(_flat(x), _flat(y), color=colour, label=label)
    ax.plot(
        *map(_flat, support), "o", ms=5, color=COLOURS["blue"], label="support points", zorder=3
    )
    ax.set(xlabel="x (radians)", ylabel="y")


def draw_estimates(
    ax: Axes,
    at: Sequence[float],
    curves: Mapping[str, Sequence[Estimate]],
    *,
    colours: Sequence[str] = tuple(COLOURS),
) -> None:
    """Curves of estimates with their 95 % intervals as bands.

    Args:
        ax: Where to draw.
        at: Where on the axis the estimates stand, one of each curve for each value.
        curves: A label with its estimates.
        colours: Keys of `COLOURS`, one for each curve, so that a learner keeps its colour from one
            figure to the next.
    """
    for (label, estimates), colour, marker in zip(curves.items(), colours, "os^Dvx*P"):
        mean = np.array([estimate.mean for estimate in estimates])
        half = np.array([estimate.interval for estimate in estimates])
        ax.plot(at, mean, marker=marker, ms=4, label=label, color=COLOURS[colour])
        ax.fill_between(at, mean - half, mean + half, color=COLOURS[colour], alpha=0.2, lw=0)


def draw_losses(ax: Axes, histories: Mapping[str, History], *, window: int = 100) -> None:
    """Training losses: means of `window` iterations, with 95 % intervals as bands.

    Histories may differ in length; a rest shorter than `window` is left out.
    """
    for (label, history), colour in zip(histories.items(), COLOURS):
        blocks = history.loss[: len(history) // window * window].reshape(-1, window)
        at = [(block + 0.5) * window for block in range(len(blocks))]
        draw_estimates(ax, at, {label: [Estimate.of(b) for b in blocks]}, colours=[colour])
    for line in ax.lines:
        line.set_marker("")
    ax.set(xlabel="iteration", ylabel="query loss")


def draw_results(
    ax: Axes,
    results: Mapping[str, Estimate],
    *,
    spec: str = ".2f",
    colours: Sequence[str] = tuple(COLOURS),
) -> None:
    """A table as a picture: one row a result, its interval as a line, its number at the right.

    Args:
        ax: Where to draw.
        results: A label with its estimate, first on top.
        spec: How a number is written.
        colours: Keys of `COLOURS`, one for each row, as in `draw_estimates`.
    """
    rows = range(len(results))
    for row, (estimate, name) in enumerate(zip(results.values(), colours)):
        mean, colour = estimate.mean, COLOURS[name]
        ax.errorbar(mean, row, xerr=estimate.interval, fmt="o", color=colour, capsize=3)
        ax.annotate(
            f"{estimate:{spec}}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    ax.set_yticks(rows, list(results))
    ax.set_ylim(len(results) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def draw_two_tasks(
    ax: Axes,
    curvature: Float[Tensor, "task=2 weight=2"],
    minimum: Float[Tensor, "task=2 weight=2"],
    starts: Mapping[str, Float[Tensor, "weight=2"]],
    *,
    rate: float,
) -> None:
    """Two quadratic losses over two weights, and where one gradient step leads from each start.

    Args:
        ax: Where to draw.
        curvature: Of each loss along each weight: loss = Σ λ (θ − c)² / 2.
        minimum: c, where each loss is least; marked by a cross.
        starts: A label with a point; an arrow leads from it to where each task's step ends.
        rate: Of the step.
    """
    side = np.linspace(-3.4, 3.4, 120)
    x, y = np.meshgrid(side, side)
    for task, colour in enumerate((COLOURS["blue"], COLOURS["orange"])):
        (steep_x, steep_y), (at_x, at_y) = curvature[task].tolist(), minimum[task].tolist()
        loss = (steep_x * (x - at_x) ** 2 + steep_y * (y - at_y) ** 2) / 2
        ax.contour(x, y, loss, [0.05, 0.2, 0.5, 1.0], colors=colour, linewidths=0.7, alpha=0.6)
        ax.plot(at_x, at_y, "x", ms=8, mew=2, color=colour, label=f"task {task + 1}")
    for (label, start), colour in zip(starts.items(), (COLOURS["grey"], COLOURS["purple"])):
        ax.plot(*start.tolist(), "o", color=colour, label=label)
        ends = start - rate * curvature * (start - minimum)
        arrow = {"arrowstyle": "->", "color": colour, "lw": 1.6}
        for end_x, end_y in ends.tolist():
            ax.annotate("", (end_x, end_y), tuple(start.tolist()), arrowprops=arrow)
    ax.set(xlabel="first weight", ylabel="second weight", aspect="equal")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_differences(ax: Axes, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Relative differences on a logarithmic axis: a row a setting, a mark a witness.

    A difference of exactly zero, which a logarithm cannot show, stands at the left edge, hollow.
    """
    edge = 1e-18
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    for name, colour, marker in zip(names, COLOURS.values(), "os^Dvx*P"):
        here = [(row[name], at) for at, row in enumerate(rows.values()) if name in row]
        ax.plot(
            [max(value, edge) for value, _ in here],
            [at for _, at in here],
            marker,
            color=colour,
            label=name,
        )
        zeros = [at for value, at in here if value == 0]
        ax.plot([edge] * len(zeros), zeros, marker, color=colour, markerfacecolor="white")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xscale="log", xlim=(edge / 3, 1), ylim=(len(rows) - 0.5, -0.5))
    ax.legend(loc="center right")


def _flat(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().reshape(-1)
