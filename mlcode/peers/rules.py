"""MAML with other inner loops: momentum, Adam, and one that is computed twice to save memory."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mlcode.optimization.inner_loop import UpdateRule
from mlcode.optimization.maml import MAML
from mlcode.optimization.rules import Adam, Momentum
from mlcode.peers.maml import MAMLSetting
from mlcode.peers.meta_step import MetaGradient
from mlcode.tasks import Tasks


@dataclass(frozen=True)
class MomentumSetting(MAMLSetting):
    """The settings of a step whose inner loop is gradient descent with momentum."""

    n_inner_steps: int = 5
    momentum: float = 0.9

    @property
    def rule(self) -> UpdateRule:
        """The inner step in mlcode."""
        return Momentum(self.inner_lr, self.momentum)

    @property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        """The inner step elsewhere."""
        return "SGD", {"lr": self.inner_lr, "momentum": self.momentum}


@dataclass(frozen=True)
class AdamSetting(MAMLSetting):
    """The settings of a step whose inner loop is Adam.

    With an eps far above Adam's 1e-8. The first step is `α g/(|g| + eps)`, whose slope at g = 0 is
    α/eps: differentiated, it magnifies the rounding of small gradients by 1/eps, so that with 1e-8
    no two libraries agree to ten digits, whatever their formula.
    """

    n_inner_steps: int = 5
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-2

    @property
    def rule(self) -> UpdateRule:
        """The inner step in mlcode."""
        return Adam(self.inner_lr, self.betas, self.eps)

    @property
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        """The inner step elsewhere."""
        return "Adam", {"lr": self.inner_lr, "betas": self.betas, "eps": self.eps}

    def override(self, step: int) -> dict[str, list] | None:
        """The eps with which higher's Adam is today's.

        higher's adds eps to √v and corrects the bias of v afterwards; today's, in torch and here,
        adds it to the corrected √(v / (1 − β₂ᵗ)).
        """
        return {"eps": [self.eps * math.sqrt(1 - self.betas[1] ** step)]}


@dataclass(frozen=True)
class CheckpointSetting(MAMLSetting):
    """The settings of a step whose inner loop keeps few of its steps and computes the rest anew."""

    n_inner_steps: int = 9
    checkpoint_every: int = 3

    def __str__(self) -> str:
        return f"{super().__str__()}, every {self.checkpoint_every} kept"


def by_mlcode_checkpointed(model: nn.Module, setting: CheckpointSetting) -> MetaGradient:
    """The step with checkpoints in its inner loop; its witness `maml.by_mlcode` keeps all."""
    learner = MAML(
        model,
        inner_lr=setting.inner_lr,
        n_inner_steps=setting.n_inner_steps,
        loss_fn=setting.loss_fn,
        first_order=setting.first_order,
        checkpoint_every=setting.checkpoint_every,
    )

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        loss.backward()
        return loss.detach()

    return meta_gradient
