"""What the metric-based learners share: an encoder, and classes that are counted, not declared."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.batch_norm import check_stateless, check_statistics
from mlcode.checks import check_choice, check_labels
from mlcode.learner import LossFn, Mapping, MetaLearner
from mlcode.tasks import Examples

STATISTICS = ("together", "query", "support")


class MetricLearner(MetaLearner):
    """Embeds support set and queries, and compares; a subclass says how in `scores`.

    Nothing in it is as wide as there are classes, so one learner serves 5, 20 and 60 ways. How many
    a task has is read off its support set, in which every class 0 … n_way − 1 needs an example.

    In a graph of `torch.compile` no label can be looked at. There a score is made for as many
    classes as there are support examples; those that do not exist score −∞, so that the loss is the
    same.

    Args:
        encoder: From inputs to a feature vector, such as `ConvNet(None)` or `MLP(4, 32, 16)`.
        loss_fn: As in `MetaLearner`.
        statistics: Whose batch statistics normalise the embeddings: "together", those of support
            set and queries in one batch; "query", the queries' their own and the support set's its
            own; "support", the support set's for both, so that each query is answered alone. The
            first two are transductive. Without effect if the encoder's statistics are frozen, or it
            has none.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If `encoder` is no module.
        ValueError: If `statistics` is unknown or beyond the encoder, or one of its layers keeps
            running statistics.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        loss_fn: LossFn = F.cross_entropy,
        statistics: str = "together",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(loss_fn=loss_fn, mapping=mapping, chunk_size=chunk_size)
        check_stateless(encoder)
        check_choice("statistics", statistics, STATISTICS)
        check_statistics(encoder, "support" if statistics == "support" else "query")
        self.encoder = encoder
        self.statistics = statistics
        self._n_way: int | None = None  # of the tasks that `map` is mapping over just now

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "query *feature"]
    ) -> Float[Tensor, "query n_way"]:
        """Score each query for each class of the support set of one task; the best is largest."""
        n_way = self._ways(support.y)
        z, query_z = self.embed(support.x, query_x)
        return self.scores(z, support.y, query_z, n_way)

    @abstractmethod
    def scores(
        self,
        z: Float[Tensor, "support feature"],
        y: Shaped[Tensor, "support"],
        query_z: Float[Tensor, "query feature"],
        n_way: int,
    ) -> Float[Tensor, "query n_way"]:
        """Compare embedded queries with the embedded support set; −∞ for a class without one."""

    def embed(
        self, support_x: Shaped[Tensor, "support *input"], query_x: Shaped[Tensor, "query *input"]
    ) -> tuple[Float[Tensor, "support feature"], Float[Tensor, "query feature"]]:
        """The embeddings of both sets, normalised by the statistics that the learner was told."""
        if self.statistics == "query":
            return self.encoder(support_x), self.encoder(query_x)
        n = len(support_x)
        reference = {"n_reference": n} if self.statistics == "support" else {}
        z = self.encoder(torch.cat([support_x, query_x]), **reference)  # one pass is faster
        return z[:n], z[n:]

    def map(self, fn: Callable[..., Tensor], *batches: Any) -> Tensor:
        """As in `MetaLearner`, after a look at the labels: within `vmap` they have no values.

        Raises:
            ValueError: If a task's support set does not hold every class from 0 on, or another set
                of examples a class that the support set has not.
        """
        if torch.compiler.is_compiling() or not isinstance(batches[0], Examples):
            return super().map(fn, *batches)
        before, self._n_way = self._n_way, count_classes(batches[0].y)
        try:
            for part in batches[1:]:
                if isinstance(part, Examples):
                    check_labels("query.y", part.y, self._n_way)
            return super().map(fn, *batches)
        finally:
            self._n_way = before

    def _ways(self, y: Tensor) -> int:
        if torch.compiler.is_compiling():
            return len(y)
        return count_classes(y[None]) if self._n_way is None else self._n_way

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"statistics={self.statistics}"


def count_classes(y: Shaped[Tensor, "task support"]) -> int:
    """How many classes the support sets of a batch of tasks hold, which is the same for each task.

    Raises:
        ValueError: If a set is empty, targets are no labels, or a task lacks one of the classes
            0 … n_way − 1: its mean would be 0/0.
    """
    if y.is_floating_point() or y.ndim != 2:
        raise ValueError(
            "a metric-based learner names classes: support.y must hold one integer an example; "
            f"got {y.dtype} of shape {tuple(y.shape[1:])} a task."
        )
    if y.numel() == 0:
        raise ValueError("the support set is empty: nothing to compare with. Use n_shot >= 1.")
    check_labels("support.y", y, None)
    n_way = int(y.max()) + 1
    if n_way <= 4 * y.shape[1]:  # else the table would be large, and a class is missing for sure
        present = F.one_hot(y, n_way).any(1)
        missing = (~present).nonzero()
    else:
        missing = torch.tensor([[0, int(_first_gap(y[0]))]])
    if len(missing):
        task, label = missing[0].tolist()
        raise ValueError(
            f"task {task} has no support example of class {label}, but labels up to {n_way - 1}. "
            "Number the classes of each task from 0, without a gap."
        )
    return n_way


def _first_gap(y: Tensor) -> int:
    there = set(y.tolist())
    return next(label for label in range(len(there) + 1) if label not in there)
