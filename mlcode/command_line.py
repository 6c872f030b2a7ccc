"""The commands of `python -m mlcode`: train, evaluate, predict, reproduce, list, compare, tune."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mlcode import predict as predictions
from mlcode import runs
from mlcode.catalogue import LEARNERS, SOURCES, setting_of
from mlcode.checkpoints import n_saved
from mlcode.checks import check_choice, check_device
from mlcode.command_options import (
    FOLDER,
    INTERRUPTED,
    WHOSE,
    device_option,
    run_options,
    says_what_is_wrong,
    table,
    typed,
)
from mlcode.comparison_commands import compare, tune
from mlcode.recipes import RECIPES, Options
from mlcode.recipes import reproduce as reproduce_recipe
from mlcode.recipes.recipe import in_words
from mlcode.recipes.reproduction import newest_checkpoint


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Meta-learning from the command line; the package of the book Learning to Learn."""


@main.command()
@click.argument("learner")
@click.argument("source")
@run_options
@device_option
@click.option("--out", type=FOLDER, required=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Continue the run that lies there.")
@says_what_is_wrong
def train(learner: str, source: str, device: str, out: Path, resume: bool, **options: Any) -> None:
    """Meta-train LEARNER on SOURCE; `list` shows the names.

    Ctrl-C saves the run, and --resume continues it with the settings that it had. With more
    --n-iterations it goes on beyond its end.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if resume:
        setting = runs.continued(out, learner, source, given)
    else:
        setting = runs.begun(out, setting_of(learner, source, given))
    try:
        history = runs.run(out, setting, check_device(device))
    except KeyboardInterrupt:
        again = ["train", learner, source, "--out", str(out), "--resume"]
        interrupted(out / runs.CHECKPOINT, again, device)
    if history is None:
        click.echo(f"{learner} has nothing to train.")
    else:
        last = history.loss[-100:]
        loss = f"; mean query loss of the last {len(last)}: {last.mean():.4g}" if len(last) else ""
        click.echo(f"{len(history)} iterations{loss}")
    click.echo(f"To measure it: {typed('evaluate', str(out))}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--split", default="test", show_default=True, help="Of an image source.")
@click.option("--n-tasks", default=600, show_default=True, help="Test tasks.")
@click.option("--n-way", type=int, help="Classes a task, for learners that can. [as in training]")
@click.option("--n-shot", type=int, help="Support examples, of each class. [as in training]")
@click.option("--n-query", type=int, help="Query examples, of each class. [as in training]")
@click.option("--n-test-steps", type=int, help="Inner steps. [as the run says]")
@click.option("--statistics", help=f"{WHOSE} or frozen. [as in training]")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@says_what_is_wrong
def evaluate(
    folder: Path, split: str, n_tasks: int, device: str, as_json: bool, **options: Any
) -> None:
    """Measure what `train` left in FOLDER on unseen tasks: the mean and its 95 % interval."""
    changes = {name: value for name, value in options.items() if value is not None}
    what, estimate = runs.measure(folder, changes, split, n_tasks, check_device(device))
    what = {name: value for name, value in what.items() if value is not None}
    if as_json:
        numbers = {"mean": estimate.mean, "interval": estimate.interval}
        click.echo(json.dumps(what | numbers, indent=2))
        return
    metric = what.pop("metric")
    table([(name, str(value)) for name, value in what.items()] + [(metric, f"{estimate:.4f}")])


@main.command()
@click.argument("run", type=FOLDER)
@click.argument("support", type=FOLDER)
@click.argument("queries", type=FOLDER)
@click.option("--out", type=FOLDER, help="Folder for the table and the picture. [RUN/predictions]")
@click.option("--grey", is_flag=True, help="Take the brightness of images in colour.")
@device_option
@says_what_is_wrong
def predict(
    run: Path, support: Path, queries: Path, out: Path | None, grey: bool, device: str
) -> None:
    """Name the class of each image in the folder QUERIES.

    RUN is what `train` left, with any learner of images. SUPPORT holds one sub-folder a class, with
    one or more images of it. Images are square drawings of dark ink on light paper, or light on
    dark, of any size above the network's; each is answered alone. Prints every answer with its
    confidence and the next likely class, and saves them as a table and as a picture.
    """
    answers = predictions.answer(run, support, queries, check_device(device), grey=grey)
    table([("query", "class", "confidence", "next", "confidence"), *answers.rows()])
    for path in predictions.save(answers, out or run / "predictions"):
        click.echo(f"Saved {path}")


@main.command()
@click.argument("recipe")
@click.option("--seed", type=int, help="Of the first weights and of the tasks. [the recipe's]")
@click.option("--n-iterations", type=int, help="Another number; the record then says so.")
@device_option
@click.option("--out", type=FOLDER, help="Folder for record and checkpoint. [runs/RECIPE]")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in that folder.")
@says_what_is_wrong
def reproduce(recipe: str, device: str, out: Path | None, resume: bool, **changes: Any) -> None:
    """Run the published experiment RECIPE and write a record of it; `list` shows the names.

    The record holds settings, seed, versions, hardware, time, results with intervals, and verdicts.
    Ctrl-C saves, and --resume goes on.
    """
    check_choice("the recipe", recipe, list(RECIPES))
    out = out or Path("runs") / recipe
    given = {name: value for name, value in changes.items() if value is not None}
    options = Options(device=str(check_device(device)), **given)
    try:
        path = reproduce_recipe(RECIPES[recipe], options, folder=out, resume=resume)
    except KeyboardInterrupt:
        asked = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        again = ["reproduce", recipe, *asked, "--out", str(out), "--resume"]
        interrupted(newest_checkpoint(out), again, device)
    for row in json.loads(path.read_text(encoding="utf-8"))["result"]["results"]:
        click.echo(f"{in_words(row)}  {row['protocol']}: {row['verdict']}")
    click.echo(f"The record is {path}")


@main.command("list")
def list_() -> None:
    """Show the learners, sources and recipes that there are."""
    click.echo("Learners")
    table([(name, entry.text) for name, entry in LEARNERS.items()])
    click.echo("\nSources")
    table([(name, entry.text) for name, entry in SOURCES.items()])
    click.echo("\nRecipes")
    header = ("", "target", "protocol", "time")
    table([header] + [(r.name, r.aim, r.protocol, r.time) for r in RECIPES.values()])


def interrupted(checkpoint: Path | None, again: Sequence[str], device: str) -> None:
    """Say what is saved and how to go on, and end."""
    saved = n_saved(checkpoint) if checkpoint is not None and checkpoint.exists() else 0
    if saved == 0:
        click.echo("\nInterrupted before anything was saved.", err=True)
    else:
        device_too = [] if device == "cpu" else ["--device", device]
        click.echo(f"\nInterrupted; saved after iteration {saved}. To go on:", err=True)
        click.echo(f"  {typed(*again, *device_too)}", err=True)
    sys.exit(INTERRUPTED)


for command in (compare, tune):
    main.add_command(command)
