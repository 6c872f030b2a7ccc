"""A comparison as a picture, and what came of each setting that a search tried."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from mlcode.checks import check_choice
from mlcode.comparison_tables import standings
from mlcode.plotting import COLOURS

BY_STANDING = {"best": "blue", "not told apart": "sky", "": "grey"}


def draw_comparison(
    ax: Axes, result: Mapping[str, Any], *, colours: Sequence[str] | None = None
) -> None:
    """One row a learner: the thick line is the interval over tasks, the thin one the whole.

    The band behind the rows is the interval of the best. Being outside it proves nothing, and being
    inside neither: pairs are tested on their differences, which is what the colours show.

    Args:
        ax: Where to draw.
        result: Of `LearnerComparison.as_dict()`.
        colours: Keys of `COLOURS`, one for each row, so that a learner keeps its colour from figure
            to figure. None: blue for the best, light blue for those not told apart from it, grey
            for the others.
    """
    unit, standing = 100 if result["percent"] else 1, standings(result)
    names = colours or [BY_STANDING[standing[score["name"]]] for score in result["scores"]]
    for row, (score, name) in enumerate(zip(result["scores"], names, strict=True)):
        mean, whole, tasks = (unit * score[key] for key in ("mean", "interval", "over_tasks"))
        ax.errorbar(mean, row, xerr=whole, fmt="o", color=COLOURS[name], capsize=3, lw=1.2)
        ax.plot([mean - tasks, mean + tasks], [row, row], color=COLOURS[name], lw=4, alpha=0.5)
        if standing[score["name"]] == "best":
            ax.axvspan(mean - whole, mean + whole, color=COLOURS[name], alpha=0.1, lw=0)
        spec = ".1f" if result["percent"] else ".3g"
        ax.annotate(
            f"{mean:{spec}} ± {whole:{spec}}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    rows = range(len(result["scores"]))
    ax.set_yticks(rows, [score["name"] for score in result["scores"]])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(
        f"{result['metric']}{', %' if result['percent'] else ''} ({result['better']} is better)"
    )


def draw_trials(ax: Axes, result: Mapping[str, Any], name: str) -> None:
    """What a search found against one hyperparameter, the best trial in orange.

    A trial that diverged stands as a grey cross at the worst value that was found. How widely the
    points spread above one value is what all other hyperparameters do together.

    Args:
        ax: Where to draw.
        result: Of `Tuning.as_dict()`.
        name: Which hyperparameter. A number whose largest value is more than 20 times the smallest
            stands on a logarithmic axis.

    Raises:
        ValueError: If `name` was not searched.
    """
    trials, unit = result["trials"], 100 if result["percent"] else 1
    check_choice("name", name, list(trials[0]["setting"]))
    at = [trial["setting"][name] for trial in trials]
    if any(isinstance(value, (str, bool, type(None))) for value in at):
        at = [str(value) for value in at]
    elif min(at) > 0 and max(at) > 20 * min(at):
        ax.set_xscale("log")
    done = [trial["mean"] for trial in trials if trial["mean"] is not None]
    worst = min(done) if result["better"] == "higher" else max(done)
    for i, (x, trial) in enumerate(zip(at, trials)):
        if trial["mean"] is None:
            ax.plot([x], [unit * worst], "x", color=COLOURS["grey"])
            continue
        colour = COLOURS["orange" if i == result["best"] else "blue"]
        error = unit * trial["interval"]
        ax.errorbar([x], [unit * trial["mean"]], yerr=error, fmt="o", ms=4, lw=1, color=colour)
    ax.set(xlabel=name, ylabel=f"{result['metric']}{', %' if result['percent'] else ''}")
