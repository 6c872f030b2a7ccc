"""The commands `compare` and `tune` of `python -m mlcode`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mlcode.checks import check_device
from mlcode.command_options import (
    FOLDER,
    INTERRUPTED,
    SETTINGS,
    device_option,
    run_options,
    says_what_is_wrong,
    typed,
)
from mlcode.runs_compared import SEARCH, compare_runs, parsed_space, tune_run

KINDS = {name.removeprefix("--").replace("-", "_"): kind for name, kind, _ in SETTINGS}


@click.command()
@click.argument("folders", type=FOLDER, nargs=-1, required=True)
@click.option("--split", default="test", show_default=True, help="Of an image source.")
@click.option("--n-tasks", default=600, show_default=True, help="Test tasks.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@says_what_is_wrong
def compare(
    folders: tuple[Path, ...], split: str, n_tasks: int, device: str, as_json: bool
) -> None:
    """Compare what `train` left in FOLDERS on the same tasks, pair by pair.

    Runs that differ in their seed alone are trainings of one learner, and give it an interval over
    trainings. All runs must be on one source, with the same ways, shots and queries.
    """
    found = compare_runs(folders, split, n_tasks, check_device(device))
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else str(found))


@click.command()
@click.argument("learner")
@click.argument("source")
@click.option(
    "--search",
    "searches",
    multiple=True,
    required=True,
    help="inner_lr=0.01:1:log, n_inner_steps=1:5 or statistics=query,support; may be repeated.",
)
@click.option("--n-trials", default=20, show_default=True, help="Settings to try in all.")
@click.option("--n-validation-tasks", default=200, show_default=True, help="To measure each on.")
@run_options
@device_option
@click.option("--out", type=FOLDER, required=True, help="Folder of the search.")
@click.option("--resume", is_flag=True, help="Continue the search that lies there.")
@says_what_is_wrong
def tune(
    learner: str,
    source: str,
    searches: tuple[str, ...],
    n_trials: int,
    n_validation_tasks: int,
    device: str,
    out: Path,
    resume: bool,
    **options: Any,
) -> None:
    """Search for the setting of LEARNER that does best on validation tasks of SOURCE.

    Needs Optuna. Ctrl-C ends the search, and --resume goes on, also to more trials than before. The
    last line is the command that trains with the best setting.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if (out / SEARCH).exists() and not resume:
        raise ValueError(
            f"{out} holds a search already. Continue it with --resume, or name another folder."
        )
    try:
        found = tune_run(
            learner,
            source,
            given,
            parsed_space(searches, KINDS),
            n_trials=n_trials,
            n_validation_tasks=n_validation_tasks,
            folder=out,
            device=check_device(device),
        )
    except KeyboardInterrupt:
        click.echo("\nInterrupted; --resume with the same options goes on.", err=True)
        sys.exit(INTERRUPTED)
    click.echo(str(found))
    best = {**given, **found.best.setting}
    flags = [part for name, value in best.items() for part in _flag(name, value)]
    again = typed("train", learner, source, *flags, "--out", str(out / "best"))
    click.echo(f"\nTo train with the best: {again}")


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    return [flag] if value is True else [flag, str(value)]
