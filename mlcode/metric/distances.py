"""How far apart embeddings are: the distances that the metric-based learners use."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.checks import check_positive
from mlcode.transfer.heads import squared_distances

__all__ = ["Temperature", "cosine_similarity", "euclidean", "squared_distances"]


def euclidean(
    a: Float[Tensor, "left feature"], b: Float[Tensor, "right feature"]
) -> Float[Tensor, "left right"]:
    """‖aᵢ − bⱼ‖ for every pair, from the differences themselves; its gradient at 0 is 0.

    Examples of one class are to come close, and there `squared_distances` loses digits: it
    subtracts large numbers that are nearly equal. The price is memory for every difference. Where
    two points coincide the distance has no slope, and 0 pulls neither.
    """
    squares = (a[:, None] - b[None]).square().sum(-1)
    apart = squares > 0
    return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


def cosine_similarity(
    a: Float[Tensor, "left feature"], b: Float[Tensor, "right feature"]
) -> Float[Tensor, "left right"]:
    """aᵢ·bⱼ / (‖aᵢ‖ ‖bⱼ‖) for every pair; 0 where a vector is 0, which has no direction."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


class Temperature(nn.Module):
    """Divides scores by τ > 0: below 1 the softmax of them becomes sharper, above 1 flatter.

    What is learned is the logarithm of τ over its start, so that τ stays positive.

    Args:
        start: τ before training.
        learned: Whether meta-training may change it.

    Raises:
        TypeError: If `start` is not a number.
        ValueError: If it is not positive and finite.
    """

    def __init__(self, start: float = 1.0, *, learned: bool = False) -> None:
        super().__init__()
        check_positive("temperature", start)
        self.start = start
        self.log = nn.Parameter(torch.zeros(())) if learned else None

    def forward(self, scores: Float[Tensor, "*scores"]) -> Float[Tensor, "*scores"]:
        """Scores over τ."""
        scores = scores / self.start
        return scores if self.log is None else scores * torch.exp(-self.log)

    @property
    def value(self) -> float:
        """τ."""
        return self.start * (1.0 if self.log is None else math.exp(self.log.item()))

    def extra_repr(self) -> str:
        """The settings, for `repr`: where it started, not where training has brought it."""
        return f"{self.start:g}" + (", learned" if self.log is not None else "")
