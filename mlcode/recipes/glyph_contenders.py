"""Every learner of the book that can tell five characters apart, with what its training needs.

Learners that stand on a pre-trained encoder spend half of the budget, or all, on that. Every query
is answered by itself: batch statistics are those of the support set, or frozen.
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from mlcode.learner import MetaLearner
from mlcode.metric import MatchingNetwork, PrototypicalNetwork, Siamese
from mlcode.metric.metric_learner import MetricLearner
from mlcode.model_based.hypernetwork import HyperNetwork
from mlcode.model_based.in_context import InContextLearner
from mlcode.model_based.memory import MemoryLearner
from mlcode.model_based.recurrent import RecurrentLearner
from mlcode.model_based.task_features import TaskFeatures
from mlcode.multitask import MetaTransfer, ProtoMAML
from mlcode.networks import ConvNet
from mlcode.optimization.implicit import ImplicitMAML
from mlcode.optimization.learned_optimizer import LearnedOptimizer
from mlcode.optimization.learned_rules import LSTMRule
from mlcode.optimization.maml import MAML
from mlcode.optimization.meta_sgd import MetaSGD
from mlcode.optimization.reptile import Reptile
from mlcode.recipes.contenders import Contender
from mlcode.recipes.on_features import FeatureEpisodes, OnFeatures, features_of
from mlcode.sources.batches import Batches
from mlcode.sources.episodes import Episodes
from mlcode.sources.glyphs import Glyphs
from mlcode.transfer.features import FeatureTransfer

WAYS, FILTERS = 5, 32
LOOP: dict[str, Any] = {"loss_fn": F.cross_entropy, "statistics": "support"}


def images(n_way: int, n_query: int) -> Any:
    """Training tasks of images, one drawing a class to learn from."""
    return lambda encoder: Episodes(Glyphs("train"), n_way, 1, n_query)


def net(n_out: int | None) -> ConvNet:
    """The network of all: the MAML paper's with half of its filters."""
    return ConvNet(n_out, n_filters=FILTERS)


def with_frozen_statistics(encoder: ConvNet) -> ConvNet:
    """The encoder, after it was shown 2,000 training images."""
    drawn = Batches(Glyphs("train"), 2000).sample(1, generator=torch.Generator().manual_seed(0))
    encoder.freeze_statistics(drawn.query.x[0])
    return encoder


def inner_loop(kind: type[MAML], **options: Any) -> Any:
    """A learner that takes gradient steps, its rate to be filled in."""
    return lambda rate, _: kind(net(WAYS), inner_lr=rate, **LOOP, **options)


def metric(kind: Any, name: str, **options: Any) -> Any:
    """A learner that compares."""
    return lambda value, _: kind(net(None), **{name: value}, **options)


def alone(learner: MetaLearner, _: ConvNet | None) -> MetaLearner:
    """A metric-based learner whose batch statistics are frozen."""
    assert isinstance(learner, MetricLearner)
    with_frozen_statistics(learner.encoder)  # type: ignore[arg-type]
    return learner


def classifier(rate: float, _: ConvNet | None) -> MAML:
    """A classifier of all training characters."""
    n_classes = len(Glyphs("train"))
    return MAML(net(n_classes), n_inner_steps=0, loss_fn=F.cross_entropy, mapping="loop")


def centroid(learner: MetaLearner, _: ConvNet | None) -> FeatureTransfer:
    """Its features, and the nearest class mean."""
    encoder = with_frozen_statistics(learner.model).with_head(None)  # type: ignore[arg-type]
    return FeatureTransfer(encoder, n_way=WAYS)


def meta_transfer(rate: float, encoder: ConvNet | None) -> MetaTransfer:
    """Scales and shifts of the pre-trained encoder; five steps of the head."""
    return MetaTransfer(deepcopy(encoder), n_way=WAYS, inner_lr=rate, n_inner_steps=5)  # type: ignore[arg-type]


def optimizer_of_heads(scale: float, _: ConvNet | None) -> LearnedOptimizer:
    """An LSTM that trains a linear head in ten steps."""
    rule = LSTMRule(p=None, output_scale=scale)
    options: dict[str, Any] = {"n_inner_steps": 10, "truncation": None, "first_order": False}
    return LearnedOptimizer(nn.Linear(FILTERS, WAYS), rule, loss_fn=F.cross_entropy, **options)


def reader(kind: Any, name: str, **options: Any) -> Any:
    """A learner that reads features; its own hyperparameter is a width."""
    options |= {"classification": True}
    return lambda width, _: kind(FILTERS, WAYS, **{name: round(width)}, **options)


def hypernetwork(width: float, _: ConvNet | None) -> HyperNetwork:
    """Writes the weights of a linear head."""
    read = TaskFeatures(FILTERS, WAYS, classification=True)
    return HyperNetwork(nn.Linear(FILTERS, WAYS), read, n_hidden=round(width))


def of_features(
    build: Any, n_iterations: int, meta_lr: float, own: tuple[str, float], n_tasks: int = 32
) -> Contender:
    """A contender on features of the encoder that had half of the budget."""
    return Contender(
        build,
        lambda encoder: FeatureEpisodes(features_of(encoder, Glyphs("train"))),  # type: ignore[arg-type]
        n_iterations,
        n_tasks,
        meta_lr,
        own,
        finish=lambda learner, encoder: OnFeatures(learner, deepcopy(encoder)),  # type: ignore[arg-type]
        clip_grad_norm=1.0,
    )


EIGHT, SIXTY = (images(5, 3), 8), (images(60, 2), 1)


def adapting(build: Any, n_iterations: int, rate: float, meta_lr: float = 3e-3) -> Contender:
    """A contender that takes inner steps, trained on eight tasks a step."""
    return Contender(build, EIGHT[0], n_iterations, EIGHT[1], meta_lr, ("inner_lr", rate))


def comparing(build: Any, n_iterations: int, own: tuple[str, float]) -> Contender:
    """A contender that compares, trained on one episode of sixty ways a step."""
    return Contender(build, SIXTY[0], n_iterations, SIXTY[1], 2e-3, own, finish=alone)


CONTENDERS: dict[str, Contender] = {
    "MAML": adapting(inner_loop(MAML), 220, 0.4),
    "first-order MAML": adapting(inner_loop(MAML, first_order=True), 280, 0.4),
    "ANIL": adapting(inner_loop(MAML, adapted="head.*"), 330, 0.4),
    "Meta-SGD": adapting(inner_loop(MetaSGD), 180, 0.4),
    "implicit MAML": replace(
        adapting(inner_loop(ImplicitMAML, n_inner_steps=5, n_conjugate_steps=2), 90, 0.2), n_tasks=4
    ),
    "Reptile": Contender(
        inner_loop(Reptile, n_inner_steps=5, n_test_steps=10, batch_size=10),
        images(5, 4),
        125,
        5,
        1.0,
        ("inner_lr", 0.1),
        optimizer=SGD,
    ),
    "ProtoMAML": adapting(
        lambda rate, _: ProtoMAML(net(None), inner_lr=rate, statistics="support"), 150, 0.05
    ),
    "Siamese": comparing(metric(Siamese, "margin"), 280, ("margin", 4.0)),
    "matching": comparing(
        metric(MatchingNetwork, "temperature", learned_temperature=True), 280, ("temperature", 0.1)
    ),
    "prototypical": comparing(metric(PrototypicalNetwork, "temperature"), 280, ("temperature", 1)),
    "meta-transfer": replace(adapting(meta_transfer, 200, 0.4), meta_lr=3e-3),
    "learned optimizer": of_features(optimizer_of_heads, 60, 0.01, ("output_scale", 0.1)),
    "hypernetwork": of_features(hypernetwork, 800, 3e-3, ("n_hidden", 64)),
    "recurrent": of_features(reader(RecurrentLearner, "n_hidden"), 700, 5e-3, ("n_hidden", 64)),
    "memory": of_features(reader(MemoryLearner, "n_hidden"), 200, 5e-3, ("n_hidden", 64)),
    "in context": of_features(
        reader(InContextLearner, "width", n_heads=4, causal=False), 400, 3e-3, ("width", 32)
    ),
}
WHOLE = Contender(
    classifier, lambda _: Batches(Glyphs("train"), 128), 320, 1, 3e-3, finish=centroid
)
HALF = replace(WHOLE, n_iterations=160)
