"""Siamese networks: twins with shared weights learn which pairs of examples are of one class."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from mlcode.checks import check_choice, check_positive
from mlcode.learner import Mapping
from mlcode.metric.distances import euclidean
from mlcode.metric.losses import FORMS, contrastive_terms, triplet_terms
from mlcode.metric.metric_learner import MetricLearner
from mlcode.metric.pairs import PAIRS, hardest, pair_weights, same_class, triplet_weights
from mlcode.tasks import Examples

OBJECTIVES = ("contrastive", "triplet", "logistic")


class Siamese(MetricLearner):
    """Learns distances from pairs, and classifies by the nearest support example.

    Training looks at the pairs among all examples of a task, support set and queries together, and
    asks of each only whether it is of one class: the loss of a task is that of its pairs, and what
    is a query matters at test alone. Every objective takes one table of all pairs.

    - "contrastive": see `mlcode.metric.losses.contrastive_loss` (Hadsell et al., 2006).
    - "triplet": see `mlcode.metric.losses.triplet_loss` (Hermans et al., 2017).
    - "logistic": `p(same) = σ(Σⱼ αⱼ |aⱼ − bⱼ| + β)` with learned α and β, and binary cross-entropy
      (Koch, Zemel and Salakhutdinov, 2015). Theirs ends in 4,096 sigmoid units and is regularised;
      here it is the encoder's features, as they are.

    Args:
        encoder: The twin, from inputs to embeddings; see `MetricLearner`.
        objective: One of the three.
        margin: Of the first two, in the embedding's units. For the contrastive loss it is the scale
            of the space: with a `ConvNet` on Omniglot 5 learned faster than 1.
        form: Of the contrastive loss; see there.
        pairs: Which pairs count: "all", "balanced" or "hard", see `mlcode.metric.pairs`. A triplet
            has a pair of either kind, so that "balanced" means all of them; "hard" takes one for
            each example, with the farthest of its class and the nearest of another.
        n_features: Width of the embedding, which the logistic head must know. None: the encoder's
            `n_features` or `n_out`.
        statistics: See `MetricLearner`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MetricLearner`, or if the margin is not a number.
        ValueError: As `MetricLearner`, or if a name is unknown, the margin is not positive, or
            the embedding's width is unknown.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        objective: str = "contrastive",
        margin: float = 1.0,
        form: str = "squared",
        pairs: str = "balanced",
        n_features: int | None = None,
        statistics: str = "together",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(encoder, statistics=statistics, mapping=mapping, chunk_size=chunk_size)
        check_choice("objective", objective, OBJECTIVES)
        check_choice("form", form, FORMS)
        check_choice("pairs", pairs, PAIRS)
        check_positive("margin", margin)
        self.objective, self.margin, self.form, self.pairs = objective, margin, form, pairs
        if objective == "logistic":
            self.head = nn.Linear(_width(encoder, n_features), 1)

    def task_loss(self, support: Examples, query: Examples) -> Float[Tensor, ""]:
        """The loss of all pairs, or triplets, among the examples of one task."""
        z = torch.cat(self.embed(support.x, query.x))
        return self.pair_loss(z, torch.cat([support.y, query.y]))

    def pair_loss(
        self, z: Float[Tensor, "example feature"], y: Shaped[Tensor, "example"]
    ) -> Float[Tensor, ""]:
        """The objective on embedded examples; 0 if there is no pair or triplet that counts."""
        apart = euclidean(z, z)
        if self.objective == "triplet":
            return self._triplets(apart, y)
        same = same_class(y)[0]
        if self.objective == "contrastive":
            cost = contrastive_terms(apart, same, self.margin, self.form)
        else:
            logit = self.likeness(z, z)
            cost = F.binary_cross_entropy_with_logits(logit, same.to(z.dtype), reduction="none")
            apart = -logit  # the hard pairs are hard for the head
        return (cost * pair_weights(apart, y, self.pairs)).sum()

    def likeness(
        self, a: Float[Tensor, "left feature"], b: Float[Tensor, "right feature"]
    ) -> Float[Tensor, "left right"]:
        """How much every pair looks like one class: minus the distance, or the head's logit."""
        if self.objective == "logistic":
            return self.head((a[:, None] - b[None]).abs())[..., 0]
        return -euclidean(a, b)

    def scores(
        self,
        z: Float[Tensor, "support feature"],
        y: Int64[Tensor, "support"],
        query_z: Float[Tensor, "query feature"],
        n_way: int,
    ) -> Float[Tensor, "query n_way"]:
        """How like each query is to the support example of each class that is most like it."""
        like = self.likeness(query_z, z)[..., None]
        return torch.where(F.one_hot(y, n_way).bool(), like, -torch.inf).amax(1)

    def _triplets(self, apart: Tensor, y: Tensor) -> Tensor:
        if self.pairs == "hard":
            cost = triplet_terms(*hardest(apart, y), self.margin)
            same, other = same_class(y)
            counts = (same.any(1) & other.any(1)).to(apart.dtype)
        else:
            cost = triplet_terms(apart[:, :, None], apart[:, None, :], self.margin)
            counts = triplet_weights(y).to(apart.dtype)
        return (cost * counts).sum() / counts.sum().clamp(min=1)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        names = ("objective", "margin", "form", "pairs", "statistics")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


def _width(encoder: nn.Module, n_features: int | None) -> int:
    found: Any = n_features
    for name in ("n_out", "n_features"):
        found = getattr(encoder, name, None) if found is None else found
    if found is None:
        raise ValueError(
            "objective='logistic' needs the width of the embedding, and "
            f"{type(encoder).__name__} does not say it; pass n_features."
        )
    return found
