"""How much each task counts: weights that are given, or learned from the tasks' noise."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.checks import check_choice, check_positive
from mlcode.multitask.batches import check_names

KINDS = ("regression", "classification")


class Weighting(nn.Module, ABC):
    """Turns the losses of tasks into the terms of one objective, whose sum is minimised.

    Args:
        names: Of the tasks.

    Raises:
        ValueError: If there is no task or a name occurs twice.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"expected distinct names of at least one task; got {self.names}.")

    @abstractmethod
    def forward(self, losses: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """The term of each task that has a part in the objective."""


class FixedWeights(Weighting):
    """The weighted mean of the losses: term k is wₖ Lₖ over the sum of the weights in the batch.

    A mean and not a sum, so that a step does not grow with the number of tasks. A task of weight 0
    has no term at all: its loss may be anything, infinite too, and moves nothing. (0 · ∞ would be
    no number.)

    Args:
        weights: The weight of each task, or the names of tasks that count alike.

    Raises:
        TypeError: If a weight is not a number.
        ValueError: If there is no task, a weight is negative or not finite, or all are 0; on call,
            if all tasks of a batch have weight 0.
    """

    def __init__(self, weights: Mapping[str, float] | Sequence[str]) -> None:
        super().__init__(tuple(weights))
        weights = dict(weights if isinstance(weights, Mapping) else dict.fromkeys(weights, 1.0))
        for name, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, Real):
                raise TypeError(f"the weight of {name!r} must be a number; got {weight!r}.")
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of {name!r} must be finite and >= 0; got {weight}.")
        self.weights = weights
        self._total(self.names)

    def forward(self, losses: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """The weighted losses of the tasks whose weight is not 0."""
        check_names(tuple(losses), self.names)
        total = self._total(losses)
        return {
            name: loss * (self.weights[name] / total)
            for name, loss in losses.items()
            if self.weights[name] > 0
        }

    def _total(self, names: Sequence[str] | Mapping[str, Tensor]) -> float:
        total = sum(self.weights[name] for name in names)
        if total == 0:
            raise ValueError(
                f"every weight is 0 of {', '.join(map(repr, names))}: nothing would be learned. "
                "Give one task a weight above 0."
            )
        return total

    def extra_repr(self) -> str:
        """The weights, for `repr`."""
        return ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())


class UncertaintyWeights(Weighting):
    r"""Weights learned with everything else: a task whose targets are noisy counts less.

    Term k is Lₖ/(2σₖ²) + log σₖ for a regression with mean squared error, where σₖ is the standard
    deviation of Gaussian noise on its targets; and Lₖ/σₖ² + log σₖ for a classification with
    cross-entropy, where σₖ² is nearly the temperature of its softmax (Kendall, Gal and Cipolla,
    2018, equations 7 and 10); all over the number of tasks in the batch. Learned is log σₖ².

    Where the losses stand still, σₖ² settles at Lₖ, or 2 Lₖ: each weight is then 1/(2 Lₖ), and what
    is minimised is the product of the losses. So a task that is fitted without error draws
    its weight to infinity; `min_variance` bounds it, which the paper does not.

    Args:
        kinds: "regression" or "classification" for each task.
        min_variance: The least σ², in units of the loss: no weight exceeds its inverse.

    Raises:
        ValueError: If there is no task, a kind is unknown or `min_variance` not positive.
    """

    def __init__(self, kinds: Mapping[str, str], *, min_variance: float = 1e-6) -> None:
        super().__init__(tuple(kinds))
        for name, kind in kinds.items():
            check_choice(f"the kind of {name!r}", kind, KINDS)
        check_positive("min_variance", min_variance)
        self.kinds = dict(kinds)
        self.min_variance = min_variance
        # One parameter a task: it gets a gradient from its own task only. A list, since torch
        # allows no dot in a parameter's name.
        self.log_variance = nn.ParameterList(torch.zeros(()) for _ in self.names)

    def forward(self, losses: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """The terms of the tasks whose losses are given."""
        check_names(tuple(losses), self.names)
        n_tasks, terms = len(losses), {}
        for name, loss in losses.items():
            variance = self._variance(name)
            scale = 2 * variance if self.kinds[name] == "regression" else variance
            terms[name] = (loss / scale + variance.log() / 2) / n_tasks
        return terms

    def variances(self) -> dict[str, float]:
        """σ² of each task, in units of its loss."""
        return {name: float(self._variance(name).detach()) for name in self.names}

    def weights(self) -> dict[str, float]:
        """What each task's loss is multiplied by, before the division by the number of tasks."""
        half = {name: 0.5 if kind == "regression" else 1.0 for name, kind in self.kinds.items()}
        return {name: half[name] / variance for name, variance in self.variances().items()}

    def _variance(self, name: str) -> Float[Tensor, ""]:
        return self.min_variance + self.log_variance[self.names.index(name)].exp()

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        kinds = ", ".join(f"{name}={kind}" for name, kind in self.kinds.items())
        return f"{kinds}, min_variance={self.min_variance:g}"
