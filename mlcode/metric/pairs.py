"""Which pairs and triplets of a batch count: all, both kinds alike, or the hardest.

Each function takes the costs or distances of every pair at once, as a square table, and weighs them
by the labels. A table keeps its shape whatever the labels are, so that tasks can be mapped by vmap
and compiled; picking pairs out of it would not.
"""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

PAIRS = ("all", "balanced", "hard")


def same_class(
    y: Shaped[Tensor, "example"],
) -> tuple[Bool[Tensor, "example example"], Bool[Tensor, "example example"]]:
    """Which pairs are of one class, an example with itself left out, and which are of two."""
    alike = y[:, None] == y[None]
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    return alike & ~itself, ~alike


def pair_weights(
    distance: Float[Tensor, "example example"], y: Shaped[Tensor, "example"], pairs: str
) -> Float[Tensor, "example example"]:
    """How much each ordered pair counts in a mean over pairs; the weights sum to 1.

    Args:
        distance: Of every example from every other; "hard" looks at it.
        y: The examples' classes.
        pairs: "all", every pair of two examples alike. "balanced", the pairs of one class together
            as much as those of two, of which there are many more. "hard", for each example the
            farthest of its class and the nearest of another.
    """
    same, other = same_class(y)
    if pairs == "all":
        return _shares((same | other).to(distance.dtype))
    if pairs == "hard":
        apart = distance.detach()
        same = same & (apart >= torch.where(same, apart, -torch.inf).amax(1, keepdim=True))
        other = other & (apart <= torch.where(other, apart, torch.inf).amin(1, keepdim=True))
        rows = [_shares(kind.to(distance.dtype), 1) for kind in (same, other)]  # ties share
        return (_shares(rows[0]) + _shares(rows[1])) / 2
    return (_shares(same.to(distance.dtype)) + _shares(other.to(distance.dtype))) / 2


def hardest(
    distance: Float[Tensor, "example example"], y: Shaped[Tensor, "example"]
) -> tuple[Float[Tensor, "example"], Float[Tensor, "example"]]:
    """Each example's distance from the farthest of its class and from the nearest of another.

    Where there is none of a kind it is 0 to its own, which is true of itself, and ∞ to another.
    """
    same, other = same_class(y)
    farthest = torch.where(same, distance, 0.0).amax(1)
    return farthest, torch.where(other, distance, torch.inf).amin(1)


def triplet_weights(y: Shaped[Tensor, "example"]) -> Bool[Tensor, "example example example"]:
    """Which (anchor, same, other) are triplets."""
    same, other = same_class(y)
    return same[:, :, None] & other[:, None, :]


def _shares(weight: Tensor, dim: int | None = None) -> Tensor:
    """Divided by their sum; all 0 if there is none."""
    total = weight.sum() if dim is None else weight.sum(dim, keepdim=True)
    return weight / torch.where(total > 0, total, 1.0)
