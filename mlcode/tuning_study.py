"""The search itself, kept in a file by Optuna. Nothing imports Optuna before it is asked for."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

STUDY, TERMS, FOUND = "tune", "terms", "found"  # names within the file


def the_library() -> Any:
    """Optuna; ImportError, with what to install, if it or scikit-learn is not there."""
    try:
        import_module("sklearn")  # which Optuna needs for the sensitivity
        return import_module("optuna")
    except ImportError as error:
        raise ImportError(
            f"tune needs Optuna and scikit-learn, and {error.name} is not installed. They are the "
            "extra `tune` of the book's package: pip install optuna scikit-learn."
        ) from error


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Without a line on stderr for each trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(optuna: Any, better: str, terms: Mapping[str, str], file: str | Path | None) -> Any:
    """A new study, or the one in `file` if it was begun on the same `terms`.

    Raises:
        ValueError: If `file` holds something else, or a study on other terms, naming those.
    """
    direction = "maximize" if better == "higher" else "minimize"
    study = optuna.create_study(
        storage=_storage(optuna, file), study_name=STUDY, direction=direction, load_if_exists=True
    )
    there = study.user_attrs.get(TERMS)
    if there is None:
        study.set_user_attr(TERMS, dict(terms))
    elif there != terms:
        names = [n for n in {**there, **terms} if there.get(n) != terms.get(n)]
        parts = "; ".join(f"{n}: {there.get(n, 'none')}, not {terms.get(n, 'none')}" for n in names)
        raise ValueError(f"the search in {file} has {parts}. Ask for the same, or another file.")
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # was interrupted
    return study


def finished(optuna: Any, study: Any) -> list[Any]:
    """Trials with a result, or that diverged; without those that were interrupted."""
    state = optuna.trial.TrialState
    return study.get_trials(states=[state.COMPLETE, state.PRUNED])


def ask(optuna: Any, study: Any, space: Mapping[str, Any], seed: tuple[int, int]) -> Any:
    """The next trial. A sampler of its own, so that nothing is lost when a process ends."""
    study.sampler = optuna.samplers.TPESampler(seed=_mixed(*seed))
    return study.ask(fixed_distributions=dict(space))


def tell(
    optuna: Any, study: Any, trial: Any, found: Mapping[str, Any], value: float | None
) -> None:
    """Keep what came of a trial; without a value it counts as worse than all with one."""
    trial.set_user_attr(FOUND, dict(found))
    if value is None:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, value)


def sensitivity_of(optuna: Any, study: Any, seed: int) -> dict[str, float]:
    """The share of variance that each hyperparameter explains; empty without variance."""
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    if len({trial.value for trial in done}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = evaluator.evaluate(study)  # not get_param_importances, which lets them sum to 1
    return {name: float(share) for name, share in found.items()}


def _storage(optuna: Any, file: str | Path | None) -> Any:
    if file is None:
        return None
    _check_journal(Path(file))
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal
    # A lock by a file works everywhere; the default, by a symbolic link, not on Windows.
    lock = journal.JournalFileOpenLock(str(file))
    return optuna.storages.JournalStorage(journal.JournalFileBackend(str(file), lock))


def _check_journal(file: Path) -> None:
    """Raise ValueError if `file` exists and does not begin as Optuna's journal does."""
    if not file.exists() or file.stat().st_size == 0:
        return
    with file.open("rb") as lines:
        first = lines.readline()
    try:
        begins = "op_code" in json.loads(first)
    except ValueError:
        begins = False
    if not begins:
        raise ValueError(f"{file} holds something else than a search; name another file.")


def _mixed(seed: int, n_done: int) -> int:
    """A seed for one trial: neighbours get unrelated ones."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + n_done)
    return int(torch.randint(2**31, (), generator=generator))
