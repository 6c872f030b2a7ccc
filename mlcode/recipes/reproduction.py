"""Running a recipe: what it may be continued from, what its record is called and holds."""

import time
from dataclasses import replace
from pathlib import Path

import torch

from mlcode.checks import check_int
from mlcode.recipes.recipe import Options, Recipe
from mlcode.records import environment, write_record


def reproduce(
    recipe: Recipe, options: Options, *, folder: Path | str, resume: bool = False
) -> Path:
    """Run a recipe, saving on the way, and write its record; returns the record's file.

    A run that differs from the recipe in its iterations, seed or device has a name of its own, for
    its record and its checkpoint: it can neither pass for the recipe nor be continued as it.

    Args:
        recipe: What to run.
        options: How.
        folder: For the record and checkpoints; made if it does not exist.
        resume: Continue from checkpoints in the folder.

    Raises:
        ValueError: If there is a checkpoint and `resume` is not asked for, or the other way round,
            or an option means nothing to this recipe.
    """
    _check(recipe, options)
    folder, name = Path(folder), record_name(recipe, options)
    folder.mkdir(parents=True, exist_ok=True)
    saved = sorted(path.name for path in folder.glob(f"{name}*.pt"))
    if saved and not resume:
        raise ValueError(
            f"{folder} holds a run of it, {', '.join(saved)}. Continue it with --resume, or name "
            "another folder."
        )
    start = time.perf_counter()
    found, more = recipe.run(replace(options, checkpoint=folder / f"{name}.pt"))
    result = {
        "recipe": recipe.name,
        "title": recipe.title,
        "settings": recipe.settings | _own_iterations(options),
        "seed": options.seed if recipe.seeds is None else list(recipe.seeds),
        "deviations": [*recipe.deviations, *_shortened(recipe, options)],
        "seconds": round(time.perf_counter() - start, 1),
        "resumed": bool(saved),  # then the seconds are those of the last part
        "results": [row.as_dict() for row in found],
        **more,
    }
    return write_record(name, result, made_in=environment(device=options.device), folder=folder)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint in `folder` that was written last; None if there is none."""
    return max(folder.glob("*.pt"), key=lambda path: path.stat().st_mtime, default=None)


def record_name(recipe: Recipe, options: Options) -> str:
    """The recipe's name, and what this run has of its own."""
    device = torch.device(options.device).type
    parts = [
        recipe.name.replace("-", "_"),
        *[f"{options.n_iterations}_iterations" for _ in _shortened(recipe, options)],
        *([f"seed_{options.seed}"] if options.seed != 0 else []),
        *([device] if device != "cpu" else []),
    ]
    return "_".join(parts)


def _shortened(recipe: Recipe, options: Options) -> list[str]:
    own = recipe.settings.get("n_iterations")
    if options.n_iterations in (None, own):
        return []
    return [f"{options.n_iterations:,} iterations instead of {own:,}"]


def _own_iterations(options: Options) -> dict[str, int]:
    return {} if options.n_iterations is None else {"n_iterations": options.n_iterations}


def _check(recipe: Recipe, options: Options) -> None:
    if options.n_iterations is not None:
        check_int("n_iterations", options.n_iterations, minimum=1)
        if "n_iterations" not in recipe.settings:
            raise ValueError(f"{recipe.name} trains nothing; leave n_iterations out.")
    check_int("seed", options.seed, minimum=0)
    if recipe.seeds is not None and options.seed != 0:
        seeds = ", ".join(map(str, recipe.seeds)) or "none"
        raise ValueError(f"{recipe.name} has its own seeds ({seeds}); leave the seed out.")
