"""Metric-based learners: mlcode's step against learn2learn's and against torch's own losses.

The same embeddings are compared: what differs is how prototypes, attention, pairs and triplets are
found, by loops over classes and examples in the peers and by tables of all pairs in mlcode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from mlcode.peers.metric_losses import PROTOTYPES, TORCH_LOSSES, Embed
from mlcode.peers.networks import own_network
from mlcode.tasks import Examples, Tasks

if TYPE_CHECKING:
    from mlcode.peers.comparison import Comparison

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
    learner = LEARNERS[setting.loss](own_network(model), setting.margin)

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
        z = embed(torch.cat([support.x, query.x]))  # one batch, as in its own example
        classifier.fit_(z[: len(support.y)], support.y)
        return F.cross_entropy(classifier(z[len(support.y) :]), query.y)

    return _of_each_task(model, loss_of)


def by_torch(model: nn.Module, setting: MetricSetting) -> MetaGradient:
    """The losses that torch has, on pairs and triplets listed one by one."""
    return _of_each_task(model, partial(TORCH_LOSSES[setting.loss], margin=setting.margin))


def metric_objective(model: nn.Module, tasks: Tasks, setting: MetricSetting) -> Objective:
    """The loss as a function of a shift of the weights, for finite differences; torch's own."""
    theta = {name: p.detach() for name, p in model.named_parameters()}

    def objective(shift: Parameters) -> Tensor:
        moved = {name: p + shift[name] for name, p in theta.items()}

        def embed(x: Tensor) -> Tensor:
            return functional_call(model, moved, (x,))

        losses = [
            TORCH_LOSSES[setting.loss](embed, *tasks.select(i), margin=setting.margin)
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


def _of_each_task(model: nn.Module, loss_of: Callable[..., Tensor]) -> MetaGradient:
    def meta_gradient(tasks: Tasks) -> Tensor:
        losses = [loss_of(model, *tasks.select(i)) for i in range(tasks.n_tasks)]
        loss = torch.stack(losses).mean()
        loss.backward()
        return loss.detach()

    return meta_gradient
