"""The register: what was to be reached, what was reached, on what and in what time."""

from collections.abc import Iterable
from typing import Any

from mlcode.recipes import RECIPES
from mlcode.recipes.recipe import in_words
from mlcode.records import read_record, record_names

HEAD = ("what", "protocol", "published", "here", "verdict")
SECOND_HAND = "†"


def recorded_runs() -> list[dict[str, Any]]:
    """The records that recipes left, in the order of the recipes; other records are left out."""
    order = list(RECIPES)
    records = [read_record(name) for name in record_names()]
    runs = [record for record in records if record["result"].get("recipe") in order]
    return sorted(runs, key=lambda record: order.index(record["result"]["recipe"]))


def register_table(runs: Iterable[dict[str, Any]]) -> str:
    """A row for each figure of each run, as a Markdown table."""
    rows: list[tuple[str, ...]] = [HEAD, ("---",) * len(HEAD)]
    for run in runs:
        title = run["result"]["title"]
        for row in run["result"]["results"]:
            figures = (_published(row.get("target")), _unbroken(in_words(row)))
            verdict = row["verdict"] if row.get("target") else ""
            rows.append((title, row["protocol"], *figures, verdict))
            title = ""  # named once
    return _markdown(rows)


def effort_table(runs: Iterable[dict[str, Any]]) -> str:
    """What each run was computed on, with which seed and in what time, as a Markdown table."""
    rows: list[tuple[str, ...]] = [("command", "seed", "computed on", "torch", "day", "time")]
    rows.append(("---",) * len(rows[0]))
    for run in runs:
        result, made_in = run["result"], run["environment"]
        seeds = result["seed"] if isinstance(result["seed"], list) else [result["seed"]]
        command = f"`python -m mlcode reproduce {_with_options(run)}`"
        minutes = f"{result['seconds'] / 60:.0f} min" if result["seconds"] >= 60 else "seconds"
        time = f"{minutes}, after a pause" if result.get("resumed") else minutes
        seed = ", ".join(map(str, seeds)) or "none"
        rows.append((command, seed, _hardware(made_in), made_in["torch"], made_in["date"], time))
    return _markdown(rows)


def deviation_list(runs: Iterable[dict[str, Any]]) -> str:
    """In what each run differs from the text whose figures it is held against, as Markdown."""
    items = []
    for run in runs:
        result = run["result"]
        named = result.get("deviations", RECIPES[result["recipe"]].deviations)
        items.append(f"- {result['title']}: {'; '.join(named) or 'nothing known'}.")
    return "\n".join(items)


def _with_options(run: dict[str, Any]) -> str:
    """The recipe's name and the options by which this run differs from it."""
    result, device = run["result"], run["environment"]["device"]
    recipe = RECIPES[result["recipe"]]
    given = [recipe.name]
    if result["settings"].get("n_iterations") != recipe.settings.get("n_iterations"):
        given.append(f"--n-iterations {result['settings']['n_iterations']}")
    if recipe.seeds is None and result["seed"] != 0:
        given.append(f"--seed {result['seed']}")
    if device != "cpu":
        given.append("--device cuda")
    return " ".join(given)


def _published(target: dict[str, Any] | None) -> str:
    if target is None:
        return ""
    figure = _unbroken(in_words({"mean": target["value"], **target}))
    mark = f" {SECOND_HAND}" if target.get("second_hand") else ""
    at_least = target.get("at_least")
    goal = "" if at_least is None else f"; to reach: {_unbroken(f'{100 * at_least:.3g} %')}"
    return f"{figure} ({target['source']}){mark}{goal}"


def _unbroken(figure: str) -> str:
    """Kept on one line, however narrow its column."""
    return figure.replace(" ", "\N{NO-BREAK SPACE}")


def _hardware(made_in: dict[str, Any]) -> str:
    if made_in["device"] != "cpu":
        return made_in["device"]
    threads = "1 thread" if made_in["threads"] == 1 else f"{made_in['threads']} threads"
    return f"{made_in['processor']}, {threads}"


def _markdown(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', ',') for cell in row)} |" for row in rows)
