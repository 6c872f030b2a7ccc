"""Prototypical networks: the class whose mean embedding is nearest."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mlcode.checks import check_choice
from mlcode.learner import LossFn, Mapping
from mlcode.metric.distances import Temperature, cosine_similarity
from mlcode.metric.metric_learner import MetricLearner
from mlcode.transfer.heads import class_means, nearest_centroid

DISTANCES = ("squared euclidean", "cosine")


class PrototypicalNetwork(MetricLearner):
    r"""Scores a class by how near its prototype is, the mean of its embedded support examples.

    p(y = k | x) = softmax over k of −d(f(x), cₖ) / τ, with cₖ the mean of f over the support
    examples of class k, and cross-entropy as the loss (Snell, Swersky and Zemel, 2017, equations 1
    and 2). The prototypes of all classes are one product of matrices.

    With the squared Euclidean distance and a fixed encoder it is the nearest class mean of
    `FeatureTransfer`; what is new is that the encoder is trained for it, over tasks.

    Args:
        encoder: From inputs to embeddings; see `MetricLearner`.
        distance: d, "squared euclidean", a Bregman divergence, for which the mean is the point
            nearest to a class; or "cosine", one minus the cosine, which lies between 0 and 2 and
            so wants a temperature well below 1.
        temperature: τ, or where it begins.
        learned_temperature: Whether τ is meta-learned. The paper has no temperature.
        loss_fn: As in `MetaLearner`.
        statistics: See `MetricLearner`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MetricLearner`, or if the temperature is not a number.
        ValueError: As `MetricLearner`, or if the distance is unknown or the temperature not
            positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        distance: str = "squared euclidean",
        temperature: float = 1.0,
        learned_temperature: bool = False,
        loss_fn: LossFn = F.cross_entropy,
        statistics: str = "together",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            encoder, loss_fn=loss_fn, statistics=statistics, mapping=mapping, chunk_size=chunk_size
        )
        check_choice("distance", distance, DISTANCES)
        self.distance = distance
        self.temperature = Temperature(temperature, learned=learned_temperature)

    def scores(
        self,
        z: Float[Tensor, "support feature"],
        y: Int64[Tensor, "support"],
        query_z: Float[Tensor, "query feature"],
        n_way: int,
    ) -> Float[Tensor, "query n_way"]:
        """Minus the distance of each query to each prototype, over the temperature."""
        if self.distance == "squared euclidean":
            return self.temperature(nearest_centroid(z, y, query_z, n_way))
        means, count = class_means(z, y, n_way)
        near = cosine_similarity(query_z, means) - 1
        return torch.where(count > 0, self.temperature(near), -torch.inf)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"distance={self.distance}, {super().extra_repr()}"
