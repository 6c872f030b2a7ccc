"""The commands of `python -m mlcode`: train, evaluate, reproduce, list."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
import torch
from torch.optim import Adam

from mlcode.catalogue import LEARNERS, SOURCES, Setting, make_learner, make_source, metric_of
from mlcode.checkpoints import load_learner
from mlcode.checks import check_choice
from mlcode.evaluation import evaluate as measure
from mlcode.recipes import RECIPES, Options
from mlcode.recipes import reproduce as run_recipe
from mlcode.training import train as meta_train

REFUSED, INTERRUPTED = 2, 130


def says_what_is_wrong(command: Callable) -> Callable:
    """Print the package's own errors as one message, without a traceback; exit with 2."""

    @wraps(command)
    def guarded(**options: Any) -> None:
        try:
            command(**options)
        except (ValueError, TypeError, OSError) as error:  # ConnectionError is an OSError
            click.echo(f"Error: {error}", err=True)
            sys.exit(REFUSED)

    return guarded


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Meta-learning from the command line; the package of the book Learning to Learn."""


@main.command()
@click.argument("learner", metavar="LEARNER")
@click.argument("source", metavar="SOURCE")
@click.option("--n-way", default=5, show_default=True, help="Classes a task.")
@click.option("--n-shot", default=1, show_default=True, help="Support examples (a class).")
@click.option("--n-query", type=int, help="Query examples (a class). [images 5, functions 10]")
@click.option("--inner-lr", type=float, help="Rate of an inner step. [images 0.4, functions 0.01]")
@click.option("--n-inner-steps", default=1, show_default=True, help="Inner steps in training.")
@click.option("--n-test-steps", type=int, help="Inner steps at test. [as many]")
@click.option("--meta-lr", default=1e-3, show_default=True, help="Rate of Adam, the outer step.")
@click.option("--n-tasks", default=16, show_default=True, help="Tasks a batch.")
@click.option("--n-iterations", default=1000, show_default=True, help="Outer steps in all.")
@click.option(
    "--statistics", default="query", show_default=True, help="Batch norm's: query, support."
)
@click.option("--rotations", is_flag=True, help="Turned characters are classes of their own.")
@click.option("--seed", default=0, show_default=True, help="Of the weights and the tasks.")
@click.option("--device", default="cpu", show_default=True, help="Such as cuda.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the result."
)
@click.option("--resume", is_flag=True, help="Continue what lies in the folder.")
@says_what_is_wrong
def train(device: str, out: Path, resume: bool, **options: Any) -> None:
    """Meta-train LEARNER on SOURCE; the names are those that `list` shows.

    With --resume the settings are the folder's; only --n-iterations may be larger.
    """
    setting = Setting(**options)
    setting.check()
    if resume:
        setting = replace(_read_setting(out), n_iterations=setting.n_iterations)
    elif (out / "checkpoint.pt").exists():
        raise ValueError(
            f"{out} holds a run already. Add --resume to continue it, or name another."
        )
    learner = make_learner(setting).to(device)
    if not any(p.requires_grad for p in learner.parameters()):
        raise ValueError(f"{setting.learner} has nothing to train; use evaluate-only recipes.")
    source = make_source(setting, "train")
    out.mkdir(parents=True, exist_ok=True)
    (out / "setting.json").write_text(json.dumps(asdict(setting), indent=2) + "\n")
    try:
        history = meta_train(
            learner,
            source,
            n_iterations=setting.n_iterations,
            n_tasks=setting.n_tasks,
            optimizer=Adam(learner.parameters(), setting.meta_lr),
            generator=torch.Generator().manual_seed(setting.seed),
            checkpoint=out / "checkpoint.pt",
            checkpoint_every=200,
        )
    except KeyboardInterrupt:
        click.echo("\nInterrupted; what was trained is saved. To go on:", err=True)
        arguments = f"{setting.learner} {setting.source} --n-iterations {setting.n_iterations}"
        click.echo(f"  python -m mlcode train {arguments} --out {out} --resume", err=True)
        sys.exit(INTERRUPTED)
    last = history.loss[-100:].mean()
    click.echo(f"{len(history)} iterations; mean query loss of the last 100: {last:.4g}")
    click.echo(f"To measure it: python -m mlcode evaluate {out}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Of an image source.")
@click.option("--n-tasks", default=600, show_default=True, help="Test tasks.")
@click.option("--n-query", type=int, help="Query examples (a class). [as in training]")
@click.option("--n-test-steps", type=int, help="Inner steps. [as in training]")
@click.option("--statistics", help="Batch norm's: query or support. [as in training]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@says_what_is_wrong
def evaluate(folder: Path, split: str, n_tasks: int, as_json: bool, **changes: Any) -> None:
    """Measure what `train` left in FOLDER on unseen tasks, with a 95 % interval."""
    setting = _read_setting(folder)
    setting = replace(setting, **{k: v for k, v in changes.items() if v is not None})
    learner = make_learner(setting)
    done = load_learner(folder / "checkpoint.pt", learner)
    name, metric = metric_of(setting)
    estimate = measure(learner, make_source(setting, split), n_tasks, metric=metric)
    result = {
        "learner": setting.learner,
        "source": f"{setting.source} {split}" if setting.classifies else setting.source,
        "iterations": done,
        "ways": setting.n_way if setting.classifies else None,
        "shots": setting.n_shot,
        "batch statistics": setting.statistics if setting.classifies else None,
        name: estimate.mean,
        "interval": estimate.interval,
        "tasks": estimate.n_tasks,
    }
    result = {key: value for key, value in result.items() if value is not None}
    if as_json:
        click.echo(json.dumps(result))
        return
    result[name] = f"{estimate:.4f}"
    del result["interval"]
    _table([(key, str(value)) for key, value in result.items()])


@main.command()
@click.argument("recipe", metavar="RECIPE")
@click.option("--seed", default=0, show_default=True, help="Of the weights and the tasks.")
@click.option("--device", default="cpu", show_default=True, help="Such as cuda.")
@click.option("--n-iterations", type=int, help="Another number; the record then says so.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for record and checkpoint.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in that folder.")
@says_what_is_wrong
def reproduce(recipe: str, out: Path | None, resume: bool, **options: Any) -> None:
    """Run a published experiment by name and write a record of it."""
    check_choice("the recipe", recipe, list(RECIPES))
    checkpoint = None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        checkpoint = out / f"{recipe}.pt"
        if checkpoint.exists() and not resume:
            raise ValueError(f"{checkpoint} exists. Add --resume to continue it, or remove it.")
    elif resume:
        raise ValueError("--resume needs --out, the folder in which the checkpoint lies.")
    try:
        path = run_recipe(RECIPES[recipe], Options(checkpoint=checkpoint, **options), folder=out)
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        if checkpoint is not None and checkpoint.exists():
            again = "".join(
                f" --{key.replace('_', '-')} {value}" for key, value in options.items() if value
            )
            click.echo("What was trained is saved. To go on:", err=True)
            click.echo(
                f"  python -m mlcode reproduce {recipe}{again} --out {out} --resume", err=True
            )
        sys.exit(INTERRUPTED)
    for row in json.loads(path.read_text(encoding="utf-8"))["result"].get("results", []):
        click.echo(
            f"{row['mean']:.4f} ± {row['interval']:.4f}  {row['protocol']}: {row['verdict']}"
        )
    click.echo(f"The record is {path}")


@main.command("list")
def list_() -> None:
    """Show the learners, sources and recipes that there are."""
    click.echo("Learners")
    _table(list(LEARNERS.items()))
    click.echo("\nSources")
    _table(list(SOURCES.items()))
    click.echo("\nRecipes")
    _table([(name, f"{recipe.title}; {recipe.time}") for name, recipe in RECIPES.items()])


def _read_setting(folder: Path) -> Setting:
    file = folder / "setting.json"
    if not file.is_file():
        raise ValueError(f"{folder} holds no run: {file.name} is missing. Start one with train.")
    try:
        return Setting(**json.loads(file.read_text()))
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); train again into another folder."
        ) from error


def _table(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"  {name:{width}}  {text}")
