"""Pictures of optimizers: their rates, their runs, their steps, and how they compare."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from mlcode.plotting import COLOURS


def draw_rates(ax: Axes, rates: Mapping[str, Float[Tensor, "*weight"]], *, start: float) -> None:
    """Learned rates, a row a layer and a dot a weight, with the share of negative ones.

    Args:
        ax: Where to draw.
        rates: A label with its rates.
        start: The rate that all began with, drawn as a line.
    """
    for row, values in enumerate(rates.values()):
        dots = values.detach().cpu().flatten().sort().values.numpy()
        # Spread within the row by the golden ratio, so that neighbours in value do not overlap.
        spread = (np.arange(len(dots)) * 0.618) % 1 - 0.5 if len(dots) > 1 else 0.0
        ax.plot(dots, row + 0.7 * spread, ".", ms=3.5, alpha=0.5, color=COLOURS["blue"], mew=0)
        ax.plot(np.median(dots), row, "|", ms=14, mew=2, color=COLOURS["orange"])
        share = f"{np.mean(dots < 0):.0%} negative"
        place = ("axes fraction", "data")
        ax.annotate(share, (1.01, row), xycoords=place, va="center", fontsize=9)
    ax.axvline(0, color=COLOURS["black"], lw=0.8)
    ax.axvline(start, color=COLOURS["black"], lw=0.8, ls=":")
    ax.set_yticks(range(len(rates)), list(rates))
    ax.set(ylim=(len(rates) - 0.5, -0.5), xlabel="learned rate")
    ax.grid(axis="y", visible=False)


def draw_runs(
    ax: Axes,
    runs: Mapping[str, Float[Tensor, "task step"]],
    *,
    colours: Sequence[str] = tuple(COLOURS),
    trained: int | None = None,
) -> None:
    """Mean losses over problems against steps, on a logarithmic axis.

    Args:
        ax: Where to draw.
        runs: A label with the losses of each problem at the start and after each step. A line ends
            where a loss is not finite.
        colours: Keys of `COLOURS`, one for each run, so that a rule keeps its colour from one
            figure to the next.
        trained: How many steps the training looked ahead; drawn as a line.
    """
    for (label, losses), colour in zip(runs.items(), colours):
        mean = losses.detach().cpu().double().mean(0).numpy()
        ax.plot(np.where(np.isfinite(mean), mean, np.nan), label=label, color=COLOURS[colour])
    if trained is not None:
        ax.axvline(trained, color=COLOURS["black"], lw=0.8, ls=":")
    ax.set(yscale="log", xlabel="steps", ylabel="mean loss over problems")


def draw_update(
    ax: Axes,
    gradient: Float[Tensor, "column"],
    before: Float[Tensor, "row"],
    update: Float[Tensor, "row column"],
    *,
    largest: float,
) -> None:
    """A rule's step, in colour, against the gradient of this step and of those before.

    Args:
        ax: Where to draw.
        gradient: Of this step, along the horizontal axis.
        before: Of the steps before, along the vertical axis.
        update: The change of the weight.
        largest: The change at which the colour ends, so that two pictures can share one scale.
    """
    colours = ax.pcolormesh(
        gradient.cpu().numpy(),
        before.cpu().numpy(),
        update.detach().cpu().numpy(),
        cmap="PuOr",
        vmin=-largest,
        vmax=largest,
        shading="nearest",
    )
    ax.contour(gradient.cpu(), before.cpu(), update.detach().cpu(), [0], colors="black")
    ax.set(xlabel="gradient now", ylabel="gradient in the steps before")
    ax.grid(visible=False)
    ax.figure.colorbar(colours, ax=ax, label="change of the weight")


def draw_ratios(
    ax: Axes,
    rows: Mapping[str, Mapping[str, float]],
    *,
    colours: Sequence[str] = tuple(COLOURS),
    largest: float = 1e3,
) -> None:
    """Ratios on a logarithmic axis: a row a problem, a mark a rule, and a line at 1.

    A ratio beyond `largest`, infinite or not a number stands at the right edge, hollow.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    for name, colour, marker in zip(names, colours, "os^Dvx*P"):
        at = np.array([place for place, row in enumerate(rows.values()) if name in row])
        values = np.array([row[name] for row in rows.values() if name in row])
        within = values <= largest  # False where it is not a number
        style: dict[str, Any] = {"ls": "", "marker": marker, "color": COLOURS[colour]}
        ax.plot(values[within], at[within], label=name, **style)
        edge = np.full((~within).sum(), largest)
        ax.plot(edge, at[~within], markerfacecolor="white", **style)
    ax.axvline(1, color=COLOURS["black"], lw=0.8)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xscale="log", ylim=(len(rows) - 0.5, -0.5))
