"""Matching networks: attention over the support set, which carries its labels to the query."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mlcode.learner import LossFn, Mapping
from mlcode.metric.distances import Temperature, cosine_similarity
from mlcode.metric.metric_learner import MetricLearner


class MatchingNetwork(MetricLearner):
    """Adds up the labels of the support examples, each weighted by its likeness to the query.

    p(y | x) = Σᵢ a(x, xᵢ) yᵢ, where a is the softmax over support examples of the cosine of the two
    embeddings (Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, 2016, equation 1 and section
    2.1.1). With one example a class it is a prototypical network with the cosine.

    Differs from the paper in two respects: one encoder embeds queries and support examples alike,
    where the paper's f and g may differ, and there are no full context embeddings, by which each
    embedding there depends on the whole support set.

    Outputs are logarithms of probabilities, so that the cross-entropy of them is −log p.

    Args:
        encoder: From inputs to embeddings; see `MetricLearner`.
        temperature: Divides the cosines, or where that number begins. The paper has none, so that
            one of five classes gets at most e²/(e² + 4), 65 % of the attention.
        learned_temperature: Whether it is meta-learned.
        loss_fn: As in `MetaLearner`.
        statistics: See `MetricLearner`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MetricLearner`, or if the temperature is not a number.
        ValueError: As `MetricLearner`, or if the temperature is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
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
        self.temperature = Temperature(temperature, learned=learned_temperature)

    def scores(
        self,
        z: Float[Tensor, "support feature"],
        y: Int64[Tensor, "support"],
        query_z: Float[Tensor, "query feature"],
        n_way: int,
    ) -> Float[Tensor, "query n_way"]:
        """The logarithm of each class's share of the attention."""
        log_attention = self.log_attention(z, query_z)
        member = F.one_hot(y, n_way).bool()
        shares = torch.where(member, log_attention[..., None], -torch.inf)
        present = member.any(0)
        # A sum over no example is kept out of the graph: its logarithm has no gradient.
        log_share = torch.where(present, shares, 0.0).logsumexp(1)
        return torch.where(present, log_share, -torch.inf)

    def log_attention(
        self, z: Float[Tensor, "support feature"], query_z: Float[Tensor, "query feature"]
    ) -> Float[Tensor, "query support"]:
        """log a: whom each query looks at; its exponentials sum to 1 over the support set."""
        return self.temperature(cosine_similarity(query_z, z)).log_softmax(-1)
