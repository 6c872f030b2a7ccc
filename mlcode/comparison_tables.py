"""A comparison as tables, from `LearnerComparison.as_dict()` or from the record of one."""

from collections.abc import Mapping
from typing import Any

from mlcode.tables import render

MINUS = "\N{MINUS SIGN}"


def score_table(result: Mapping[str, Any], *, style: str = "markdown") -> str:
    """A row a learner: its value with both intervals, time and memory, and how it stands.

    Args:
        result: Of `LearnerComparison.as_dict()`.
        style: "markdown" for a page, "text" for a notebook's output.

    Raises:
        ValueError: If `style` is neither.
    """
    standing = standings(result)
    unit = ", %" if result["percent"] else ""
    head = ("learner", "", f"{result['metric']}{unit}", "over tasks", "over trainings", "trainings")
    body = [
        (
            score["name"],
            standing[score["name"]],
            _number(score["mean"], result) + " ± " + _number(score["interval"], result),
            "± " + _number(score["over_tasks"], result),
            _optional(score["over_trainings"], result),
            str(score["n_trainings"]),
            f"{1000 * score['seconds']:.3g}",
            f"{score['peak_bytes'] / 2**20:.3g}",
        )
        for score in result["scores"]
    ]
    return render((*head, "ms a task", "MiB a task"), body, n_words=2, style=style)


def difference_table(result: Mapping[str, Any], *, style: str = "markdown") -> str:
    """A row a pair of learners: their difference on the same tasks, and whether it is chance.

    Args:
        result: Of `LearnerComparison.as_dict()`.
        style: "markdown" or "text".

    Raises:
        ValueError: If `style` is neither.
    """
    unit = "difference, points" if result["percent"] else "difference"
    body = [
        (
            f"{row['first']} {MINUS} {row['second']}",
            _verdict(row, result),
            _number(row["mean"], result, sign="+") + " ± " + _number(row["interval"], result),
            _chance(row["p"]),
            _chance(row["p_holm"]),
        )
        for row in result["differences"]
    ]
    return render(("pair", "better", unit, "p", "p, all pairs"), body, n_words=2, style=style)


def explanation(result: Mapping[str, Any]) -> str:
    """Two or three sentences under the tables: on what, and what ± and p mean here."""
    single = [score["name"] for score in result["scores"] if score["n_trainings"] == 1]
    several = len(single) < len(result["scores"])
    text = f"{result['n_tasks']} tasks, hash {result['tasks']}. ± is a 95 % interval over tasks"
    if several:
        text += ", and over trainings where there are several: the root of both squares"
    if single:
        whom = "" if not several else f" of {', '.join(single)}"
        text += f"; another training{whom} may differ by more"
    if result["differences"]:
        text += (
            ". Pairs are tested on their differences task by task (paired t); the last p is "
            "Holm's, for all pairs together"
        )
    return text + "."


def standings(result: Mapping[str, Any]) -> dict[str, str]:
    """Each learner's name with "best", "not told apart" from the best, or ""."""
    choose = max if result["better"] == "higher" else min
    best = choose(result["scores"], key=lambda score: score["mean"])["name"]
    close = {
        name
        for row in result["differences"]
        if best in (row["first"], row["second"]) and not row["told_apart"]
        for name in (row["first"], row["second"])
    }
    named = dict.fromkeys(close, "not told apart") | {best: "best"}
    return {score["name"]: named.get(score["name"], "") for score in result["scores"]}


def _verdict(row: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if not row["told_apart"]:
        return "not told apart"
    return row["first"] if (row["mean"] > 0) == (result["better"] == "higher") else row["second"]


def _number(value: float, result: Mapping[str, Any], *, sign: str = "") -> str:
    written = f"{100 * value:{sign}.2f}" if result["percent"] else f"{value:{sign}.3g}"
    return written.replace("-", MINUS)


def _optional(value: float | None, result: Mapping[str, Any]) -> str:
    return "" if value is None else "± " + _number(value, result)


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
