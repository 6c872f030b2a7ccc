"""The losses of metric-based learners by torch's own functions: nothing of `mlcode.metric`."""

from collections.abc import Callable
from functools import partial
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcode.tasks import Examples

Embed = Callable[[Tensor], Tensor]
PROTOTYPES = "squared Euclidean distance"


def _means(embed: Embed, support: Examples) -> Tensor:
    """The prototypes, class by class."""
    z, n_way = embed(support.x), int(support.y.max()) + 1
    return torch.stack([z[support.y == label].mean(0) for label in range(n_way)])


def _prototypes(embed: Embed, support: Examples, query: Examples, margin: float) -> Tensor:
    means = _means(embed, support)
    return F.cross_entropy(-(torch.cdist(embed(query.x), means) ** 2), query.y)


def _cosines(embed: Embed, support: Examples, query: Examples, margin: float) -> Tensor:
    means = _means(embed, support)
    cosine = F.cosine_similarity(embed(query.x)[:, None], means[None], dim=-1)
    return F.cross_entropy((cosine - 1) / 0.1, query.y)


def _attention(embed: Embed, support: Examples, query: Examples, margin: float) -> Tensor:
    """Attention of queries to support examples, whose values are their labels."""
    keys, asked = (
        part / part.norm(dim=1, keepdim=True) for part in map(embed, (support.x, query.x))
    )
    values = F.one_hot(support.y).to(keys.dtype)
    p = F.scaled_dot_product_attention(asked[None], keys[None], values[None], scale=1.0)[0]
    return F.nll_loss(p.log(), query.y)


def _pairs(
    embed: Embed, support: Examples, query: Examples, margin: float, *, squared: bool
) -> Tensor:
    z, y = embed(torch.cat([support.x, query.x])), torch.cat([support.y, query.y])
    first, second = map(list, zip(*permutations(range(len(y)), 2)))
    apart = F.pairwise_distance(z[first], z[second], eps=0.0)
    sign = torch.where(y[first] == y[second], 1, -1)
    cost = F.hinge_embedding_loss(apart, sign, margin=margin, reduction="none")
    return (cost.square() if squared else cost).mean()


def _triplets(embed: Embed, support: Examples, query: Examples, margin: float) -> Tensor:
    z, y = embed(torch.cat([support.x, query.x])), torch.cat([support.y, query.y]).tolist()
    found = [
        (anchor, near, far)
        for anchor, near, far in permutations(range(len(y)), 3)
        if y[anchor] == y[near] != y[far]
    ]
    anchor, near, far = (z[list(column)] for column in zip(*found))
    return F.triplet_margin_loss(anchor, near, far, margin=margin, eps=0.0)


TORCH_LOSSES: dict[str, Callable[..., Tensor]] = {
    PROTOTYPES: _prototypes,
    "cosine distance": _cosines,
    "attention": _attention,
    "contrastive loss": partial(_pairs, squared=True),
    "contrastive loss, unsquared": partial(_pairs, squared=False),
    "triplet loss": _triplets,
}
