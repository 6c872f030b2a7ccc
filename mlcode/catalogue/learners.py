"""The learners by name. One more entry in `LEARNERS` offers one more learner."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import nn

from mlcode.catalogue.entries import Learner, Setting
from mlcode.metric import MatchingNetwork, MetricLearner, PrototypicalNetwork, Siamese
from mlcode.model_based.hypernetwork import HyperNetwork
from mlcode.model_based.in_context import InContextLearner
from mlcode.model_based.memory import MemoryLearner
from mlcode.model_based.recurrent import RecurrentLearner
from mlcode.model_based.task_features import TaskFeatures
from mlcode.multitask.proto_maml import ProtoMAML
from mlcode.networks import MLP, ConvNet
from mlcode.optimization.implicit import ImplicitMAML
from mlcode.optimization.maml import MAML
from mlcode.optimization.meta_sgd import MetaSGD
from mlcode.optimization.reptile import Reptile
from mlcode.optimization.rules import Adam
from mlcode.transfer.features import FeatureTransfer

ON_IMAGES = ("glyphs", "omniglot", "miniimagenet")
ON_INK = ("glyphs", "omniglot")
OF_FUNCTIONS = ("sinusoids", "lines")
PHOTOGRAPHS: dict[str, Any] = {"in_channels": 3, "downsampling": "pool", "image_size": 84}
INNER_LOOP = ("inner_lr", "n_inner_steps", "n_test_steps", "statistics")


def network(setting: Setting) -> nn.Module:
    """The network of the MAML paper for this kind of task."""
    if setting.n_way is None:
        return MLP(1, 40, 40, 1)
    if setting.source == "miniimagenet":
        return ConvNet(setting.n_way, n_filters=32, **PHOTOGRAPHS)
    return ConvNet(setting.n_way)


def encoder(setting: Setting) -> nn.Module:
    """The same without a head, with the 64 filters of the papers on metrics; for ink strided."""
    return ConvNet(None, **PHOTOGRAPHS) if setting.source == "miniimagenet" else ConvNet(None)


def inner_loop(setting: Setting) -> dict[str, Any]:
    """What a learner that takes gradient steps wants to know of a setting."""
    return {
        "inner_lr": setting.inner_lr,
        "n_inner_steps": setting.n_inner_steps,
        "n_test_steps": setting.n_test_steps,
        "loss_fn": F.mse_loss if setting.n_way is None else F.cross_entropy,
        "statistics": setting.statistics or "query",
    }


def _maml(setting: Setting, *, first_order: bool = False) -> MAML:
    return MAML(network(setting), first_order=first_order, **inner_loop(setting))


def _anil(setting: Setting) -> MAML:
    model = network(setting)
    last = "head.*" if isinstance(model, ConvNet) else "4.*"
    return MAML(model, adapted=last, **inner_loop(setting))


def _meta_sgd(setting: Setting) -> MetaSGD:
    return MetaSGD(network(setting), **inner_loop(setting))


def _implicit_maml(setting: Setting) -> ImplicitMAML:
    return ImplicitMAML(network(setting), **inner_loop(setting))


def _reptile(setting: Setting) -> Reptile:
    settings = inner_loop(setting)
    rule = Adam(settings.pop("inner_lr"), betas=(0.0, 0.999))
    return Reptile(network(setting), rule=rule, **settings)


def _prototypical(setting: Setting) -> PrototypicalNetwork:
    return PrototypicalNetwork(encoder(setting), statistics=setting.statistics or "together")


def _matching(setting: Setting) -> MatchingNetwork:
    return MatchingNetwork(
        encoder(setting),
        temperature=0.1,
        learned_temperature=True,
        statistics=setting.statistics or "together",
    )


def _siamese(setting: Setting) -> Siamese:
    statistics = setting.statistics or "together"
    return Siamese(encoder(setting), objective="triplet", statistics=statistics)


def _proto_maml(setting: Setting) -> ProtoMAML:
    return ProtoMAML(encoder(setting), **inner_loop(setting))


def _recurrent(setting: Setting) -> RecurrentLearner:
    return RecurrentLearner(1)


def _in_context(setting: Setting) -> InContextLearner:
    return InContextLearner(1)


def _memory(setting: Setting) -> MemoryLearner:
    assert setting.n_way is not None  # it learns from images only
    smaller = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())  # 14 × 14 pixels, in a row
    return MemoryLearner(196, setting.n_way, n_slots=64, width=32, n_hidden=96, encoder=smaller)


def _hypernetwork(setting: Setting) -> HyperNetwork:
    return HyperNetwork(MLP(1, 40, 40, 1), TaskFeatures(1))


def _pixels(setting: Setting) -> FeatureTransfer:
    return FeatureTransfer(n_way=setting.n_way, head="neighbour")


def _metric(text: str, build: Callable[[Setting], MetricLearner]) -> Learner:
    return Learner(
        text, build, ("statistics",), usual={"statistics": "together"}, sources=ON_IMAGES
    )


LEARNERS = {
    "maml": Learner("gradient steps from a learned start (Finn et al., 2017)", _maml, INNER_LOOP),
    "fomaml": Learner(
        "the same without second derivatives", partial(_maml, first_order=True), INNER_LOOP
    ),
    "anil": Learner("MAML that adapts the head only (Raghu et al., 2020)", _anil, INNER_LOOP),
    "meta-sgd": Learner(
        "MAML with a learned rate for every parameter (Li et al., 2017)", _meta_sgd, INNER_LOOP
    ),
    "implicit-maml": Learner(
        "MAML by implicit gradients (Rajeswaran et al., 2019)",
        _implicit_maml,
        INNER_LOOP,
        usual={"n_inner_steps": 16},
    ),
    "reptile": Learner(
        "a step towards where learning ends (Nichol et al., 2018)",
        _reptile,
        INNER_LOOP,
        usual={"n_inner_steps": 5, "n_test_steps": 10, "inner_lr": 1e-3},
        sources=ON_IMAGES,
    ),
    "protonet": _metric(
        "the nearest class mean in a learned space (Snell et al., 2017)", _prototypical
    ),
    "matching": _metric("attention over the support set (Vinyals et al., 2016)", _matching),
    "siamese": _metric(
        "the nearest example, learned from triplets (Hermans et al., 2017)", _siamese
    ),
    "proto-maml": Learner(
        "gradient steps from the head that prototypes write (Triantafillou et al., 2020)",
        _proto_maml,
        INNER_LOOP,
        usual={"inner_lr": 0.05},
        sources=ON_IMAGES,
    ),
    "recurrent": Learner(
        "a GRU whose state is what it has learned (Hochreiter et al., 2001)",
        _recurrent,
        sources=OF_FUNCTIONS,
    ),
    "in-context": Learner(
        "a transformer that reads the support set (Garg et al., 2022)",
        _in_context,
        sources=OF_FUNCTIONS,
    ),
    "memory": Learner(
        "an LSTM that writes the support set into slots (Santoro et al., 2016)",
        _memory,
        sources=ON_INK,
    ),
    "hypernetwork": Learner(
        "one network writes the weights of the task's (after Ha et al., 2017)",
        _hypernetwork,
        sources=OF_FUNCTIONS,
    ),
    "pixels": Learner(
        "nearest neighbour on the pixels; nothing to train", _pixels, sources=ON_IMAGES
    ),
}
