"""A search over hyperparameters on the validation split, with Optuna, that can be interrupted."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlcode.checks import check_int
from mlcode.evaluation import evaluate
from mlcode.learner import MetaLearner
from mlcode.metrics import Metric, metric_for
from mlcode.sources.frozen import FrozenTasks, freeze, split_of
from mlcode.tasks import TaskSource
from mlcode.tuning_space import Choice, Range, check_space, distributions
from mlcode.tuning_study import (
    FOUND,
    ask,
    finished,
    open_study,
    quiet,
    sensitivity_of,
    tell,
    the_library,
)
from mlcode.tuning_tables import sensitivity_table, trial_table

__all__ = ["Choice", "Range", "Trial", "Tuning", "tune"]

VALIDATION_SEED = 20_190_725  # any number but evaluation's, so that no test task is drawn


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Args:
        setting: A value for each hyperparameter.
        mean: The metric on the validation tasks; None if the training diverged.
        interval: Half-width of its 95 % interval over tasks.
        seconds: To train and to measure.
        failure: What was not finite, where the training diverged.
    """

    setting: dict[str, Any]
    mean: float | None
    interval: float | None
    seconds: float
    failure: str | None = None


@dataclass(frozen=True)
class Tuning:
    """What `tune` found. `print(tuning)` shows it.

    Args:
        trials: In the order in which they were tried.
        metric: What was compared.
        digest: The hash of the validation tasks.
        n_tasks: How many there were.
        sensitivity: For each hyperparameter, the share of the results' variance over the searched
            space that it explains by itself; see `tune`. Empty if all results are alike.
    """

    trials: tuple[Trial, ...]
    metric: Metric
    digest: str
    n_tasks: int
    sensitivity: dict[str, float]

    @property
    def best(self) -> Trial:
        """The trial with the best mean, the first of them if there are several.

        Its mean is the luckiest of many, and so too good: measure the setting again, on test tasks
        and with other seeds, before you print a number.

        Raises:
            ValueError: If every training diverged.
        """
        done = [(trial.mean, -i) for i, trial in enumerate(self.trials) if trial.mean is not None]
        if not done:
            raise ValueError(
                f"all {len(self.trials)} trainings diverged, the first with: "
                f"{self.trials[0].failure} Search smaller rates."
            )
        sign = 1 if self.metric.better == "higher" else -1
        _, place = max((sign * mean, place) for mean, place in done)
        return self.trials[-place]

    def as_dict(self) -> dict[str, Any]:
        """For a record, and for the tables and the picture, which take it from either."""
        return {
            "metric": self.metric.name,
            "better": self.metric.better,
            "percent": self.metric.percent,
            "tasks": self.digest,
            "n_tasks": self.n_tasks,
            "trials": [asdict(trial) for trial in self.trials],
            "best": self.trials.index(self.best),
            "sensitivity": self.sensitivity,
        }

    def __str__(self) -> str:
        result = self.as_dict()
        tables = [trial_table(result, style="text")]
        if self.sensitivity:
            tables.append(sensitivity_table(result, style="text"))
        return "\n\n".join([*tables, f"{self.n_tasks} validation tasks, hash {self.digest}."])


def tune(
    fit: Callable[[dict[str, Any]], MetaLearner | nn.Module],
    space: Mapping[str, Range | Choice],
    validation: TaskSource,
    *,
    n_trials: int,
    n_tasks: int = 200,
    metric: Metric | None = None,
    seed: int = 0,
    file: str | Path | None = None,
    about: str = "",
    drawn_anew: bool = False,
) -> Tuning:
    """Search `space` for the setting whose learner does best on validation tasks.

    The first ten settings are drawn at random, the others by Optuna's tree-structured Parzen
    estimator, from regions where earlier ones did well. The draw of a trial depends on the seed and
    on the trials before it alone: a search that was interrupted and goes on ends as one that was
    left alone, as long as `fit` gives the same learner each time.

    How sensitive the result is to each hyperparameter is the variance that it explains by itself in
    a random forest fitted to the trials (Hutter, Hoos and Leyton-Brown, ICML 2014; Optuna's
    functional ANOVA). What remains to 1 is explained by several together. Twenty trials give an
    order, hardly a number, and one result that is a hundred times worse than all others can lend
    its weight to a hyperparameter that does nothing: look at `draw_trials` too.

    Args:
        fit: Trains a learner with a setting, on the training split, and returns it. Torch's global
            generator is seeded for each call, and restored.
        space: A `Range` or a `Choice` for each hyperparameter.
        validation: Tasks of the validation split; others are refused. Each setting is measured on
            the same tasks.
        n_trials: Settings to try in all, those in `file` included. A training that diverges counts.
        n_tasks: Validation tasks.
        metric: What is compared. None: accuracy of labels, else the mean squared error.
        seed: Of the settings drawn, and of each call of `fit`.
        file: Where the search is kept and continued from. None: it is kept nowhere.
        about: What is tuned, in words. A search in `file` about something else is not continued.
        drawn_anew: Say True of a source without splits, such as `Sinusoids`, whose every task is
            drawn from a distribution and never met again.

    Raises:
        ImportError: If Optuna or scikit-learn is not installed.
        TypeError: If a count is not an integer, or the space holds something else.
        ValueError: If the tasks are not those of a validation split, the space is empty, a count is
            below its minimum, `file` holds another search, naming what differs, or every training
            diverged. Whatever `fit` raises is passed on, unless it is a ValueError that says that
            something is not finite: then the training diverged.
    """
    check_int("n_trials", n_trials, minimum=1)
    check_int("n_tasks", n_tasks, minimum=2)
    check_int("seed", seed, minimum=0)
    check_space(space)
    check_validation(validation, drawn_anew=drawn_anew)
    optuna = the_library()
    frozen = freeze(validation, n_tasks, generator=torch.Generator().manual_seed(VALIDATION_SEED))
    metric = metric or metric_for(frozen.tasks)
    terms = {name: repr(part) for name, part in space.items()}
    terms |= _terms(frozen, metric, seed, about)
    with quiet(optuna):
        study = open_study(optuna, metric.better, terms, file)
        while (n_done := len(finished(optuna, study))) < n_trials:
            asked = ask(optuna, study, distributions(optuna, space), (seed, n_done))
            found = _try(fit, asked.params, frozen, metric, seed)
            tell(optuna, study, asked, asdict(found), found.mean)
        trials = [Trial(**trial.user_attrs[FOUND]) for trial in finished(optuna, study)]
        sensitivity = sensitivity_of(optuna, study, seed)
    tuning = Tuning(tuple(trials[:n_trials]), metric, frozen.digest, n_tasks, sensitivity)
    tuning.best  # noqa: B018  which raises an error if there is none
    return tuning


def check_validation(source: object, *, drawn_anew: bool) -> None:
    """Raise ValueError unless the tasks of `source` are for validation."""
    split = split_of(source)
    if split is None and not drawn_anew:
        raise ValueError(
            f"{type(source).__name__} does not say which split it draws from. Tune on the "
            'validation split, such as Episodes(Glyphs("validation")); of a source that draws '
            "every task anew say drawn_anew=True."
        )
    if split is not None and split != "validation":
        raise ValueError(
            f"hyperparameters are chosen on the validation split; got the split {split!r}. What is "
            "chosen on test tasks looks better on them than it is."
        )


def _terms(frozen: FrozenTasks, metric: Metric, seed: int, about: str) -> dict[str, str]:
    """What a search must have in common with the one that it continues, besides its space."""
    tasks = f"{len(frozen)} of hash {frozen.digest}"
    return {
        "about": about,
        "metric": f"{metric.name} ({metric.better})",
        "seed": str(seed),
        "tasks": tasks,
    }


def _try(
    fit: Callable[[dict[str, Any]], MetaLearner | nn.Module],
    setting: dict[str, Any],
    frozen: FrozenTasks,
    metric: Metric,
    seed: int,
) -> Trial:
    start = time.perf_counter()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)  # restored on leaving
            learner = fit(dict(setting))
        estimate = evaluate(learner, frozen, len(frozen), metric=metric.of)
    except ValueError as error:
        if "finite" not in str(error):
            raise
        return Trial(setting, None, None, time.perf_counter() - start, str(error))
    frozen.check_unchanged("a learner")
    return Trial(setting, estimate.mean, estimate.interval, time.perf_counter() - start)
