"""What the commands of `python -m mlcode` share: options, errors in one message, tables."""

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
import torch

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
WHOSE = "Whose batch statistics serve queries: query, support or, of metric-based, together"
FOLDER = click.Path(file_okay=False, path_type=Path)


def says_what_is_wrong(command: Callable) -> Callable:
    """Print an error in one message, without a traceback.

    The exit status is 2 for what the reader asked for and can ask for differently, and 1 for what
    went wrong outside: a full disk, too little memory.
    """

    @wraps(command)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (ValueError, TypeError, ConnectionError, ImportError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(REFUSED)
        except (OSError, MemoryError, torch.OutOfMemoryError) as error:
            click.echo(f"Error: {error or 'out of memory'}", err=True)
            sys.exit(FAILED)

    return guarded


SETTINGS: list[tuple[str, type, str]] = [
    ("--n-way", int, "Classes a task. [5]"),
    ("--n-shot", int, "Support examples, of each class. [images 1, functions 10]"),
    ("--n-query", int, "Query examples, of each class. [images 5, functions 10]"),
    ("--inner-lr", float, "Rate of an inner step. [images 0.4, functions 0.01]"),
    ("--n-inner-steps", int, "Inner steps in training. [1; implicit-maml 16]"),
    ("--n-test-steps", int, "Inner steps at test. [as many]"),
    ("--statistics", str, f"{WHOSE}. [query; together]"),
    ("--meta-lr", float, "Rate of Adam, the outer optimizer. [0.001]"),
    ("--n-tasks", int, "Tasks in an outer step. [16]"),
    ("--n-iterations", int, "Outer steps in all. [1000]"),
    ("--seed", int, "Of the first weights and of the tasks. [0]"),
]


def run_options(command: Callable) -> Callable:
    """The settings of a run as options; what is not given takes its usual value."""
    rotations = "Train on characters turned by quarters as classes of their own."
    command = click.option("--rotations", is_flag=True, default=None, help=rotations)(command)
    for name, kind, text in reversed(SETTINGS):
        command = click.option(name, type=kind, help=text)(command)
    return command


def device_option(command: Callable) -> Callable:
    """Where to compute."""
    return click.option("--device", default="cpu", show_default=True, help="Such as cuda.")(command)


def typed(*arguments: str) -> str:
    """What to type."""
    return shlex.join(["python", "-m", "mlcode", *arguments])


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for cells in rows:
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths))
        click.echo(f"  {line.rstrip()}")
