"""Metric-based learners: mlcode's step against learn2learn's and against torch's own losses.

The same embeddings are compared: what differs is how prototypes, attention, pairs and triplets are
found, by loops over classes and examples in the peers and by tables of all pairs in mlcode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mlcode import peers
from mlcode.metric import MatchingNetwork, MetricLearner, PrototypicalNetwork, Siamese
from mlcode.networks import MLP
from mlcode.peers.finite_differences import Objective
from mlcode.peers.meta_step import MetaGradient, Parameters
from mlcode.tasks import Examples, Tasks

if TYPE_CHECKING:
    from mlcode.peers.comparison import Comparison

Embed = Callable[[Tensor], Tensor]
PROTOTYPES = "squared Euclidean distance"
TITLES = {
    "Prototypical network": (PROTOTYPES, "cosine distance"),
    "Matching network": ("attention",),
    "Siamese network": ("contrastive loss", "contrastive loss, unsquared", "triplet loss"),
}
N_WAY, N_SHOT, N_QUERY, N_TASKS, N_PIXELS = 5, 3, 2, 3, 16


@dataclass(frozen=True)
class MetricSetting:
    """The settings of a step.

    Args:
        loss: A key of `LEARNERS`, which names learner and loss.
        margin: Of the losses on pairs and triplets.
        meta_lr: Of Adam.
    """

    loss: str = PROTOTYPES
    margin: float = 2.0
    meta_lr: float = 1e-3

    def __str__(self) -> str:
        return self.loss


LEARNERS: dict[str, Callable[[nn.Module, float], MetricLearner]] = {
    PROTOTYPES: lambda model, _: PrototypicalNetwork(model),
    "cosine distance": lambda model, _: PrototypicalNetwork(
        model, distance="cosine", temperature=0.1
    ),
    "attention": lambda model, _: MatchingNetwork(model),
    "contrastive loss": lambda model, margin: Siamese(model, margin=margin, pairs="all"),
    "contrastive loss, unsquared": lambda model, margin: Siamese(
        model, margin=margin, pairs="all", form="unsquared"
    ),
    "triplet loss": lambda model, margin: Siamese(model, objective="triplet", margin=margin),
}


def by_mlcode(model: nn.Module, setting: MetricSetting) -> MetaGradient:
    """The learner's own loss."""
    learner = LEARNERS[setting.loss](model, setting.margin)

    def meta_gradient(tasks: Tasks) -> Tensor:
        loss = learner(tasks)
        loss.backward()
        return loss.detach()

    return meta_gradient


def by_learn2learn(model: nn.Module, setting: MetricSetting) -> MetaGradient:
    """Fit its classifier of prototypes to each task's support set; for the squared distance."""
    if setting.loss != PROTOTYPES:
        raise ValueError(f"learn2learn has no step with the {setting.loss} that could be compared.")

    def loss_of(embed: Embed, support: Examples, query: Examples) -> Tensor:
        classifier = peers.learn2learn.nn.PrototypicalClassifier()
        classifier.fit_(embed(support.x), support.y)
        return F.cross_entropy(classifier(embed(query.x)), query.y)

    return _of_each_task(model, loss_of)


def by_torch(model: nn.Module, setting: MetricSetting) -> MetaGradient:
    """The losses that torch has, on pairs and triplets listed one by one."""
    return _of_each_task(model, partial(TORCH[setting.loss], margin=setting.margin))


def metric_objective(model: nn.Module, tasks: Tasks, setting: MetricSetting) -> Objective:
    """The loss as a function of a shift of the weights, for finite differences; torch's own."""
    theta = {name: p.detach() for name, p in model.named_parameters()}

    def objective(shift: Parameters) -> Tensor:
        moved = {name: p + shift[name] for name, p in theta.items()}

        def embed(x: Tensor) -> Tensor:
            return functional_call(model, moved, (x,))

        losses = [
            TORCH[setting.loss](embed, *tasks.select(i), margin=setting.margin)
            for i in range(tasks.n_tasks)
        ]
        return torch.stack(losses).mean().detach()

    return objective


def metric_problem(seed: int) -> tuple[nn.Module, Tasks]:
    """A small encoder and tasks of noise, 5-way 3-shot with 2 queries a class, in float64."""
    with torch.random.fork_rng(devices=[]):  # the caller's global generator stays where it was
        torch.manual_seed(seed)
        model = MLP(N_PIXELS, 32, 8).double()
    draw = torch.Generator().manual_seed(seed)

    def examples(each: int) -> Examples:
        size = (N_TASKS, N_WAY * each)
        x = torch.randn(*size, N_PIXELS, generator=draw, dtype=torch.float64)
        order = torch.rand(size, generator=draw).argsort(-1)
        return Examples(x, order % N_WAY)  # every class equally often, in random order

    return model, Tasks(examples(N_SHOT), examples(N_QUERY))


def metric_comparisons() -> dict[str, Comparison]:
    """The entries of the ledger."""
    from mlcode.peers.comparison import Comparison  # which imports this module

    return {
        f"{title.split()[0].lower()}-{loss.replace(',', '').replace(' ', '-').lower()}": Comparison(
            title=title,
            settings=partial(MetricSetting, loss=loss),
            grid=({},),
            problem=metric_problem,
            mlcode=by_mlcode,
            peers={"learn2learn": by_learn2learn} if loss == PROTOTYPES else {},
            witnesses={"torch itself": by_torch},
            objective=metric_objective,
            dtypes=(torch.float64,),
        )
        for title, losses in TITLES.items()
        for loss in losses
    }


def _prototypes(embed: Embed, support: Examples, query: Examples, margin: float) -> Tensor:
    """A loop over the classes, then torch's distances."""
    z = embed(support.x)
    means = torch.stack([z[support.y == label].mean(0) for label in range(N_WAY)])
    return F.cross_entropy(-(torch.cdist(embed(query.x), means) ** 2), query.y)


def _cosines(embed: Embed, support: Examples, query: Examples, margin: float) -> Tensor:
    z = embed(support.x)
    means = torch.stack([z[support.y == label].mean(0) for label in range(N_WAY)])
    cosine = F.cosine_similarity(embed(query.x)[:, None], means[None], dim=-1)
    return F.cross_entropy((cosine - 1) / 0.1, query.y)


def _attention(embed: Embed, support: Examples, query: Examples, margin: float) -> Tensor:
    """Attention of queries to support examples, whose values are their labels."""
    keys, asked = (
        part / part.norm(dim=1, keepdim=True) for part in map(embed, (support.x, query.x))
    )
    values = F.one_hot(support.y, N_WAY).to(keys.dtype)
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


TORCH: dict[str, Callable[..., Tensor]] = {
    PROTOTYPES: _prototypes,
    "cosine distance": _cosines,
    "attention": _attention,
    "contrastive loss": partial(_pairs, squared=True),
    "contrastive loss, unsquared": partial(_pairs, squared=False),
    "triplet loss": _triplets,
}


def _of_each_task(model: nn.Module, loss_of: Callable[..., Tensor]) -> MetaGradient:
    def meta_gradient(tasks: Tasks) -> Tensor:
        losses = [loss_of(model, *tasks.select(i)) for i in range(tasks.n_tasks)]
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.detach()

    return meta_gradient
