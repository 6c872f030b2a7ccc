"""What a task is: a support set to learn from and a query set to be judged on."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Shaped
from torch import Tensor


class Examples(NamedTuple):
    """Inputs with their targets, of one task or, with a leading `task` axis, of many.

    `x` has the shape `(*task, example, *feature)` and `y` the shape `(*task, example, *target)`.
    """

    x: Shaped[Tensor, "*task_example_feature"]
    y: Shaped[Tensor, "*task_example_target"]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Examples:
        """Move to `device`; cast to `dtype` what is floating point (class labels stay integers)."""
        return Examples(
            *(t.to(device, dtype) if t.is_floating_point() else t.to(device) for t in self)
        )


class Tasks(NamedTuple):
    """A batch of tasks: `support` is what a learner adapts to, `query` what it is then judged on.

    Both carry the task axis first. The two sets of one task share their task and no example.
    """

    support: Examples
    query: Examples

    @property
    def n_tasks(self) -> int:
        """How many tasks the batch holds."""
        return self.support.x.shape[0]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tasks:
        """Move to `device`; cast to `dtype` what is floating point."""
        return Tasks(self.support.to(device, dtype), self.query.to(device, dtype))

    def select(self, index: int | slice | Tensor) -> Tasks:
        """Index the task axis: `select(3)` is one task, `select(slice(0, 8))` a batch of eight."""
        return Tasks(*(Examples(part.x[index], part.y[index]) for part in self))


@runtime_checkable
class TaskSource(Protocol):
    """Anything that can draw tasks: a distribution over tasks."""

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Tasks:
        """Draw `n_tasks` independent tasks with `generator` and place them on `device`."""
        ...
