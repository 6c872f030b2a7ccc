"""What can be said of a task at a glance: a vector of features of its support set."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mlcode.checks import check_int, check_labels, check_same_kind
from mlcode.model_based.addressing import one_hot
from mlcode.networks import MLP
from mlcode.tasks import Examples


class TaskFeatures(nn.Module):
    """A support set of any size as one vector: its size, its moments, and what training adds.

    The vector holds, in this order, log(1 + n) of the number of examples; the mean and the standard
    deviation of every feature of x and every component of y; and the mean of a small network over
    the pairs (x, y). A mean does not care for the order of the pairs (deep sets, of Zaheer et al.,
    2017, with a sum in its place); it forgets how many there were, so the size is said beside it.

    The first `n_fixed` of its `n_task_features` entries need no learning: size and moments.
    Without examples every entry is 0, which is then what "a task about which nothing is known"
    looks like; with one, the deviations are 0.

    Args:
        n_features: Numbers in one input; images and the like are flattened.
        n_out: Classes with `classification`, else the length of y.
        width: Learned features.
        n_hidden: Width of the two hidden layers of the network over pairs.
        classification: Whether y are class labels, which are then read one-hot.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is below 1; on call, if the inputs or targets have another width,
            x and y differ in number, or a label is no class.
    """

    def __init__(
        self,
        n_features: int,
        n_out: int = 1,
        *,
        width: int = 32,
        n_hidden: int = 64,
        classification: bool = False,
    ) -> None:
        super().__init__()
        check_int("n_features", n_features, minimum=1)
        check_int("n_out", n_out, minimum=1)
        check_int("width", width, minimum=1)
        self.n_features, self.n_out, self.classification = n_features, n_out, classification
        self.pair = MLP(n_features + n_out, n_hidden, n_hidden, width)
        self.n_fixed = 1 + 2 * (n_features + n_out)
        self.n_task_features = self.n_fixed + width

    def forward(self, support: Examples) -> Float[Tensor, "n_task_features"]:
        """The features of one task."""
        pairs = self.pairs(support)
        n = len(pairs)
        if n == 0:
            return pairs.new_zeros(self.n_task_features)
        size = pairs.new_ones(1) * torch.log1p(pairs.new_tensor(float(n)))
        mean = pairs.mean(0)
        return torch.cat([size, mean, deviation(pairs - mean), self.pair(pairs).mean(0)])

    def pairs(self, support: Examples) -> Float[Tensor, "example pair"]:
        """Each example as one row: the input, then the target, one-hot if it is a label."""
        x, y = support
        if len(x) != len(y):
            raise ValueError(
                "the support set needs one target per input; got x of shape "
                f"{tuple(x.shape)} and y of shape {tuple(y.shape)}."
            )
        check_same_kind({"support.x": x, "support.y": y, "the parameters": next(self.parameters())})
        x = x.reshape(len(x), x.shape[1:].numel())
        if x.shape[1] != self.n_features:
            raise ValueError(
                f"TaskFeatures was made for {self.n_features} number(s) an input; got {x.shape[1]}."
            )
        return torch.cat([x, self._targets(y, x.dtype)], 1)

    def _targets(
        self, y: Shaped[Tensor, "example *target"], dtype: torch.dtype
    ) -> Float[Tensor, "example n_out"]:
        width = () if self.classification else (self.n_out,)
        if y.is_floating_point() == self.classification or y.shape[1:] != width:
            kind = "one integer label" if self.classification else f"{self.n_out} real target(s)"
            raise ValueError(
                f"TaskFeatures was made for {kind} an example; got y of shape "
                f"{tuple(y.shape)} and {y.dtype}."
            )
        if not self.classification:
            return y
        if not torch._C._functorch.is_batchedtensor(y):  # there `MetaLearner.losses` has looked
            check_labels("support.y", y, self.n_out)
        return one_hot(y, self.n_out, dtype)


def deviation(centred: Float[Tensor, "example feature"]) -> Float[Tensor, "feature"]:
    """The standard deviation of columns whose mean is 0; √ has no slope at 0, so 0 is taken."""
    variance = centred.square().mean(0)
    some = variance > 0
    return torch.where(some, torch.where(some, variance, 1).sqrt(), 0)
