"""Transfer by fine-tuning: start from pre-trained weights and go on by gradient descent."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import nn

from mlcode.learner import LossFn, Mapping
from mlcode.optimization.inner_loop import UpdateRule
from mlcode.optimization.maml import MAML


class FineTuning(MAML):
    """Gradient steps on the support set from pre-trained weights: MAML's adaptation, unlearned.

    Nothing has prepared these weights for being adapted; they were trained for something else. That
    is the whole difference to `MAML`, so that the two are compared step by step. Every prediction
    starts afresh from the same weights.

    Args:
        model: A pre-trained network with an output for every class of a task. Of a `ConvNet` that
            was trained on other classes, `network.with_head(n_way)` is a copy with a head of zeros.
        lr: Rate of the gradient steps.
        n_steps: How many.
        tuned: Name patterns of the parameters that move, such as "head.*", which makes it transfer
            by features with a logistic head; see `MAML`'s `adapted`.
        loss_fn: As in `MetaLearner`.
        rule: Another optimizer than gradient descent, one of `mlcode.optimization.rules`.
        statistics: As in `MAML`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MAML`.
        ValueError: As `MAML`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 0.01,
        n_steps: int = 50,
        tuned: str | Sequence[str] = "*",
        loss_fn: LossFn = F.cross_entropy,
        rule: UpdateRule | None = None,
        statistics: str = "query",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            inner_lr=lr,
            n_inner_steps=n_steps,
            loss_fn=loss_fn,
            first_order=True,
            adapted=tuned,
            rule=rule,
            statistics=statistics,
            mapping=mapping,
            chunk_size=chunk_size,
        )
