"""A search as tables, from `Tuning.as_dict()` or from the record of one."""

from collections.abc import Mapping
from typing import Any

from mlcode.tables import render


def trial_table(result: Mapping[str, Any], *, style: str = "markdown") -> str:
    """A row a trial, in the order in which they were tried, with a mark at the best.

    Args:
        result: Of `Tuning.as_dict()`.
        style: "markdown" for a page, "text" for a notebook's output.

    Raises:
        ValueError: If `style` is neither.
    """
    unit = 100 if result["percent"] else 1
    names = list(result["trials"][0]["setting"])
    body = []
    for i, trial in enumerate(result["trials"]):
        value = "diverged"
        if trial["mean"] is not None:
            spec = ".2f" if result["percent"] else ".3g"
            value = f"{unit * trial['mean']:{spec}} ± {unit * trial['interval']:{spec}}"
        setting = [_written(trial["setting"][name]) for name in names]
        mark = "best" if i == result["best"] else ""
        body.append((str(i + 1), mark, value, *setting, f"{trial['seconds']:.1f}"))
    metric = f"{result['metric']}{', %' if result['percent'] else ''}"
    return render(("trial", "", metric, *names, "s"), body, n_words=2, style=style)


def sensitivity_table(result: Mapping[str, Any], *, style: str = "markdown") -> str:
    """The share of the results' variance that each hyperparameter explains by itself.

    Args:
        result: Of `Tuning.as_dict()`.
        style: "markdown" or "text".

    Raises:
        ValueError: If `style` is neither.
    """
    shares = sorted(result["sensitivity"].items(), key=lambda item: -item[1])
    body = [(name, f"{100 * share:.0f} %") for name, share in shares]
    body.append(("several together", f"{100 * max(0.0, 1 - sum(s for _, s in shares)):.0f} %"))
    return render(("hyperparameter", "explains of the variance"), body, n_words=1, style=style)


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
