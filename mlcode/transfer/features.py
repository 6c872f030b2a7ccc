"""Transfer by features: keep a pre-trained encoder as it is and fit only what follows it."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.batch_norm import call_on_queries, check_statistics
from mlcode.checks import check_choice, check_int, check_positive, check_support
from mlcode.learner import LossFn, Mapping, MetaLearner
from mlcode.tasks import Examples
from mlcode.transfer.fitted_heads import cosine_head, logistic_head
from mlcode.transfer.heads import as_targets, nearest_centroid, nearest_neighbour, ridge

OF_CLASSES: dict[str, Callable[..., Tensor]] = {
    "centroid": nearest_centroid,
    "neighbour": nearest_neighbour,
    "cosine": cosine_head,
    "logistic": logistic_head,
}
HEADS = (*OF_CLASSES, "ridge")


class FeatureTransfer(MetaLearner):
    """A frozen encoder and a head that the support set determines.

    With pre-trained features and the nearest class mean this is the baseline that few-shot methods
    have to beat (Wang et al., 2019, SimpleShot). With the inputs themselves as features
    and the nearest neighbour it is the baseline that needs no training at all.

    Args:
        encoder: From inputs to features, such as `ConvNet(None)` after pre-training. Nothing of it
            is learned here. None: the inputs themselves, flattened.
        n_way: Number of classes; None for regression.
        head: "centroid", the nearest class mean; "neighbour", the nearest example; "cosine", a
            direction for each class (Chen et al., 2019); "logistic", a logistic regression on
            features of length 1 (Tian et al., 2020); or "ridge", linear least squares to the
            targets or to the classes one-hot, the only one for regression. The first two and the
            last measure by Euclidean distance.
        penalty: Of the ridge, on features as they come: with features of size 1 a penalty of 1
            counts like one example. Of the logistic head, on features of length 1.
        loss_fn: As in `MetaLearner`. Outputs are minus squared distances, cosines, log-odds, or
            what the ridge predicts; but for the log-odds none is calibrated, so judge
            classification by `accuracy`.
        statistics: Whose batch statistics normalise the queries' features: "query" or "support",
            as in `mlcode.batch_norm`. Without effect if the encoder's are frozen or it has none.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: If a number is of the wrong type.
        ValueError: If a name is unknown, a number is out of range, or a head for classes has no
            `n_way`.
    """

    def __init__(
        self,
        encoder: nn.Module | None = None,
        *,
        n_way: int | None = None,
        head: str = "centroid",
        penalty: float = 1.0,
        loss_fn: LossFn = F.cross_entropy,
        statistics: str = "query",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(loss_fn=loss_fn, mapping=mapping, chunk_size=chunk_size)
        check_choice("head", head, HEADS)
        check_positive("penalty", penalty)
        if n_way is not None:
            check_int("n_way", n_way, minimum=2)
        elif head != "ridge":
            raise ValueError(f"head={head!r} tells classes apart: pass n_way, how many there are.")
        self.encoder = nn.Flatten() if encoder is None else encoder
        if encoder is not None:
            check_statistics(encoder, statistics)
        self.head, self.penalty = head, penalty
        self.statistics = statistics if encoder is not None else "query"
        self._n_way = n_way

    @property
    def n_way(self) -> int | None:
        """Number of classes."""
        return self._n_way

    def predict(
        self, support: Examples, query_x: Shaped[Tensor, "example *feature"]
    ) -> Shaped[Tensor, "example *target"]:
        """Fit the head to the features of the support set, apply it to those of the queries."""
        check_support(support, like=support.x)
        z, query_z = self.features(support.x, query_x)
        if self.head == "ridge":
            targets = as_targets(support.y, self.n_way, z.dtype)
            return ridge(z, targets, query_z, penalty=self.penalty)
        assert self.n_way is not None  # the constructor saw to it
        options = {"penalty": self.penalty} if self.head == "logistic" else {}
        return OF_CLASSES[self.head](z, support.y, query_z, self.n_way, **options)

    def features(
        self, support_x: Shaped[Tensor, "support *input"], query_x: Shaped[Tensor, "query *input"]
    ) -> tuple[Float[Tensor, "support feature"], Float[Tensor, "query feature"]]:
        """What the encoder makes of both sets; constants, whatever trains."""
        z = self.encoder(support_x)
        query_z = call_on_queries(self.encoder, {}, support_x, query_x, self.statistics)
        return z.detach(), query_z.detach()

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"n_way={self.n_way}, head={self.head}, statistics={self.statistics}"
