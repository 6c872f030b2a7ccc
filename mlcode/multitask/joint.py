"""What learners of several tasks at once share: a loss for each task, and one objective."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.multitask.weighting import FixedWeights, Weighting


class JointLearner(nn.Module, ABC):
    """Learns several tasks at once; a subclass says in `losses` what each of them costs.

    Its `forward` is the objective, as a meta-learner's is: any optimizer of its parameters lowers
    it. `terms` are the parts that it is the sum of, one a task, on which gradient surgery works.

    Args:
        names: Of the tasks.
        weighting: How the losses are weighed. None: alike.

    Raises:
        ValueError: If a name occurs twice or is none, or `weighting` is for other tasks.
    """

    def __init__(self, names: Sequence[str], weighting: Weighting | None = None) -> None:
        super().__init__()
        self.names = tuple(names)
        self.weighting = FixedWeights(self.names) if weighting is None else weighting
        if set(self.weighting.names) != set(self.names):
            raise ValueError(
                f"the weighting is for the tasks {', '.join(self.weighting.names)}, and the tasks "
                f"are {', '.join(self.names)}; give each a weight, 0 if it is not to count."
            )

    @abstractmethod
    def losses(self, batch: Mapping[str, Any]) -> dict[str, Float[Tensor, ""]]:
        """The loss of each task in the batch; a task that is not there has none."""

    def terms(self, batch: Mapping[str, Any]) -> dict[str, Float[Tensor, ""]]:
        """The weighted parts of the objective, by task."""
        return self.weighting(self.losses(batch))

    def forward(self, batch: Mapping[str, Any]) -> Float[Tensor, ""]:
        """The objective: the sum of the terms."""
        return torch.stack(list(self.terms(batch).values())).sum()
