"""How good a learner is on tasks it has not seen, with the uncertainty of that number."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_int, check_tasks
from mlcode.learner import MetaLearner, uncompiled
from mlcode.tasks import Examples, TaskSource

EVALUATION_SEED = 20_170_309  # any fixed number; this is the day MAML appeared


def accuracy(
    prediction: Float[Tensor, "*example_n_way"], y: Shaped[Tensor, "*example"]
) -> Float[Tensor, ""]:
    """The share of examples whose largest output is their label's; a `metric` for `evaluate`.

    Raises:
        ValueError: If there is not one row of outputs for each label.
    """
    if prediction.ndim != 2 or y.shape != prediction.shape[:1] or y.is_floating_point():
        raise ValueError(
            "accuracy needs outputs of the shape (example, n_way) and one integer label an "
            f"example; got {tuple(prediction.shape)} and {tuple(y.shape)} of {y.dtype}."
        )
    return (prediction.argmax(-1) == y).to(prediction.dtype).mean()


@dataclass(frozen=True)
class Estimate:
    """A mean over tasks with its 95 % confidence interval: `estimate.mean` ± `estimate.interval`.

    `interval` is the half-width 1.96 s/√n, the field's convention, where s is the standard
    deviation over the n tasks. It says how far another draw of test tasks would move the mean; it
    knows nothing of another training seed.
    """

    mean: float
    interval: float
    n_tasks: int
    values: Float[np.ndarray, "task"] = field(repr=False)

    @classmethod
    def of(cls, values: Float[np.ndarray, "task"]) -> "Estimate":
        """Summarise one value a task. Raises ValueError below two tasks or if one is not finite."""
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 1 or len(values) < 2:
            raise ValueError(
                f"an interval needs one value for each of at least 2 tasks; got {values.shape}."
            )
        if not np.isfinite(values).all():
            bad = np.flatnonzero(~np.isfinite(values))
            raise ValueError(
                f"expected finite values; {len(bad)} of {len(values)} tasks gave none, the first "
                f"being task {bad[0]} with {values[bad[0]]}. Try fewer or smaller inner steps."
            )
        half_width = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
        return cls(float(values.mean()), float(half_width), len(values), values)

    def __format__(self, spec: str) -> str:
        """`f"{estimate:.2f}"` is "0.63 ± 0.06"; the default is three decimals."""
        spec = spec or ".3f"
        return f"{self.mean:{spec}} ± {self.interval:{spec}}"

    def __str__(self) -> str:
        return format(self)


def evaluate(
    learner: MetaLearner | nn.Module,
    source: TaskSource,
    n_tasks: int = 600,
    *,
    metric: Callable[[Tensor, Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 100,
) -> Estimate:
    """Measure a learner on `n_tasks` tasks of `source`, in evaluation mode and without gradients.

    Args:
        learner: Evaluated where its parameters lie, uncompiled; its mode is restored afterwards.
        source: Where the test tasks come from.
        n_tasks: How many tasks; the field's papers use 600 or more.
        metric: `metric(prediction, target)`, a scalar for one task. None: the learner's loss.
        generator: Draws the tasks. None: one with a fixed seed, so that every learner is measured
            on the same tasks, on every device.
        batch_size: Tasks adapted to at once, which bounds the memory; it does not change the tasks.

    Raises:
        TypeError: If a count is not an integer or `learner` no meta-learner.
        ValueError: If there are fewer than 2 tasks or a task's value is not finite.
    """
    learner = uncompiled(learner)
    check_int("n_tasks", n_tasks, minimum=2)
    check_int("batch_size", batch_size, minimum=1)
    generator = generator or torch.Generator().manual_seed(EVALUATION_SEED)
    parameter = next(learner.parameters(), None)
    tasks = source.sample(n_tasks, generator=generator, device=getattr(parameter, "device", None))
    check_tasks(tasks, like=parameter, n_way=learner.n_way)

    def value(support: Examples, query: Examples) -> Tensor:
        if metric is None:
            return learner.task_loss(support, query)
        return metric(learner.predict(support, query.x), query.y)

    modes = {module: module.training for module in learner.modules()}
    learner.eval()
    try:
        with torch.no_grad():
            values = [
                learner.map(value, *tasks.select(slice(start, start + batch_size)))
                for start in range(0, n_tasks, batch_size)
            ]
    finally:
        for module, training in modes.items():  # a part may be frozen in another mode than the rest
            module.training = training
    return Estimate.of(torch.cat(values).cpu().double().numpy())
