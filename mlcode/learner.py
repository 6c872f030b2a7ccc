"""The one idea of the book: a meta-learner is a function of a support set and some queries."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_choice, check_int, check_prediction, check_scalar, check_tasks
from mlcode.tasks import Examples, Tasks

LossFn = Callable[[Tensor, Tensor], Tensor]
Mapping = Literal["auto", "vmap", "loop"]


class MetaLearner(nn.Module, ABC):
    """Predicts the targets of queries from a support set; meta-training improves how.

    A subclass writes `predict` for *one* task. This class maps it over a batch of tasks and
    averages the query losses, so that a learner is an ordinary module: its `forward` is the whole
    meta-objective, and `torch.compile`, `DistributedDataParallel` and any optimizer apply to it.

    Args:
        loss_fn: `loss_fn(prediction, target)`, the mean loss over the examples of one task.
        mapping: How one task becomes many. "vmap" batches them with `torch.func.vmap`, "loop" runs
            one after another, "auto" picks the one that was measured to be faster: the loop for
            stride-1 convolutions on a CPU, where vmap must use slow grouped convolutions, and vmap
            for all else. The numbers agree to rounding.
        chunk_size: With vmap, the most tasks held in memory at once. None: all of them.

    Raises:
        ValueError: If `mapping` is unknown or `chunk_size` is not a positive integer.
    """

    def __init__(
        self, *, loss_fn: LossFn, mapping: Mapping = "auto", chunk_size: int | None = None
    ) -> None:
        super().__init__()
        check_choice("mapping", mapping, ("auto", "vmap", "loop"))
        if chunk_size is not None:
            check_int("chunk_size", chunk_size, minimum=1)
        self.loss_fn = loss_fn
        self.mapping = mapping
        self.chunk_size = chunk_size

    @property
    def n_way(self) -> int | None:
        """How many classes it can name, against which labels are checked; None where unknown."""
        return None

    @abstractmethod
    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """Learn from the support set of one task and predict the targets of its queries."""

    def task_loss(self, support: Examples, query: Examples) -> Float[Tensor, ""]:
        """The loss of one task: how wrong `predict` is on the queries."""
        return self.loss(self.predict(support, query.x), query.y)

    def loss(self, prediction: Tensor, y: Tensor) -> Float[Tensor, ""]:
        """`loss_fn`, after a check that the two shapes belong together (torch would broadcast)."""
        check_prediction(prediction, y, self.loss_fn)
        return check_scalar(self.loss_fn(prediction, y), self.loss_fn)

    def losses(self, tasks: Tasks) -> Float[Tensor, "task"]:
        """The loss of each task of a batch."""
        check_tasks(tasks, like=next(self.parameters(), None), n_way=self.n_way)
        return self.map(self.task_loss, *tasks)

    def forward(self, tasks: Tasks) -> Float[Tensor, ""]:
        """The mean query loss over tasks, which meta-training minimises."""
        return self.losses(tasks).mean()

    def check_fits(self, tasks: Tasks) -> None:
        """Raise MemoryError if a meta-gradient on `tasks` will not fit. `train` asks at its start.

        A learner whose memory can grow beyond expectation says so here; others have no objection.
        """

    def map(self, fn: Callable[..., Tensor], *batches) -> Tensor:
        """Apply `fn`, written for one task, along the leading axis of every tensor in `batches`."""
        if self._uses_vmap():
            mapped = torch.func.vmap(fn, chunk_size=self.chunk_size, randomness="different")
            return mapped(*batches)
        n_tasks = len(batches[0][0]) if isinstance(batches[0], Examples) else len(batches[0])
        return torch.stack([fn(*(_task(batch, i) for batch in batches)) for i in range(n_tasks)])

    def _uses_vmap(self) -> bool:
        if self.mapping != "auto":
            return self.mapping == "vmap"
        return not any(_slow_under_vmap(module) for module in self.modules())


def uncompiled(learner: MetaLearner | nn.Module) -> MetaLearner:
    """The learner itself, of a learner or of what `torch.compile(learner)` made of it.

    Raises:
        TypeError: If it is neither, such as the network without its learner.
    """
    inner = getattr(learner, "_orig_mod", learner)
    if not isinstance(inner, MetaLearner):
        raise TypeError(
            f"learner must be a MetaLearner, or torch.compile of one; got {type(inner).__name__}. "
            "A network becomes one by being given to it, as in MAML(network)."
        )
    return inner


def _task(batch: Examples | Tensor, i: int) -> Examples | Tensor:
    return Examples(batch.x[i], batch.y[i]) if isinstance(batch, Examples) else batch[i]


def _slow_under_vmap(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.modules.conv._ConvNd)
        and set(module.stride) == {1}
        and module.weight.device.type == "cpu"
    )
