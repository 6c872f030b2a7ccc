"""Meta-SGD: learn a rate for every parameter together with where adaptation starts."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcode.checks import check_positive
from mlcode.learner import LossFn, Mapping
from mlcode.optimization.inner_loop import Parameters, State, UpdateRule
from mlcode.optimization.maml import MAML


class LearnedRates(UpdateRule):
    """θ ← θ − α ∘ g, with a learned rate for each entry of θ.

    A rate may become negative: it decides the direction of a step too, not its length alone.

    Args:
        theta: The parameters that take steps, by name.
        lr: Every rate at the start.

    Raises:
        TypeError: If `lr` is no number.
        ValueError: If `lr` is not positive.
    """

    def __init__(self, theta: Parameters, lr: float) -> None:
        super().__init__()
        check_positive("lr", lr)
        self.names = tuple(theta)
        # A list, since torch allows no dot in the name of a parameter.
        self.rates = nn.ParameterList(torch.full_like(p, lr) for p in theta.values())

    def named(self) -> Parameters:
        """The rates by the names of the parameters that they belong to, in the same shapes."""
        return dict(zip(self.names, self.rates))

    def forward(
        self, theta: Parameters, gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """One step; there is no state."""
        rates = self.named()
        return {name: p - rates[name] * gradient[name] for name, p in theta.items()}, state


class MetaSGD(MAML):
    r"""MAML whose inner rate is learned, one for every entry of every parameter.

    One inner step is θ′ = θ − α ∘ ∇L_support(θ), with ∘ entry by entry, and the query loss at θ′
    is lowered over both θ and α (Li, Zhou, Chen and Li, 2017, algorithm 1). Several steps share α.

    Differs from the paper in how the rates begin: all at `inner_lr`, where the paper draws them
    at random from a small interval.

    Args:
        model: As in `MAML`.
        inner_lr: Every rate at the start.
        n_inner_steps: As in `MAML`; the paper takes one.
        n_test_steps: As in `MAML`.
        loss_fn: As in `MAML`.
        first_order: As in `MAML`. The rates have a gradient either way.
        adapted: As in `MAML`. The other parameters have no rates.
        statistics: As in `MAML`.
        checkpoint_every: As in `MAML`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If `model` is no module or a number is of the wrong type.
        ValueError: If `inner_lr` is not positive; see also `MAML`.
    """

    rule: LearnedRates

    def __init__(
        self,
        model: nn.Module,
        *,
        inner_lr: float = 0.01,
        n_inner_steps: int = 1,
        n_test_steps: int | None = None,
        loss_fn: LossFn = F.mse_loss,
        first_order: bool = False,
        adapted: str | Sequence[str] = "*",
        statistics: str = "query",
        checkpoint_every: int | None = None,
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            inner_lr=inner_lr,
            n_inner_steps=n_inner_steps,
            n_test_steps=n_test_steps,
            loss_fn=loss_fn,
            first_order=first_order,
            adapted=adapted,
            statistics=statistics,
            checkpoint_every=checkpoint_every,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        self.rule = LearnedRates(self.initial(), inner_lr)

    def rates(self) -> dict[str, Tensor]:
        """The learned rates α, by the names of the parameters that they belong to."""
        return self.rule.named()
