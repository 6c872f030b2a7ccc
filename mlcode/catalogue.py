"""Learners and sources by name, as the command line offers them. One entry each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mlcode.checks import check_choice
from mlcode.evaluation import accuracy
from mlcode.learner import LossFn, MetaLearner
from mlcode.networks import MLP, ConvNet
from mlcode.optimization.implicit import ImplicitMAML
from mlcode.optimization.maml import MAML
from mlcode.sources.characters import Characters
from mlcode.sources.episodes import Episodes
from mlcode.sources.glyphs import Glyphs
from mlcode.sources.omniglot import Omniglot
from mlcode.sources.sinusoids import Sinusoids
from mlcode.tasks import TaskSource
from mlcode.transfer.features import FeatureTransfer

IMAGES: dict[str, tuple[Callable[[str], Characters], str]] = {
    "glyphs": (Glyphs, "characters of 15 scripts, drawn from fonts; no download"),
    "omniglot": (Omniglot, "1,623 handwritten characters; downloaded once, or from MLCODE_DATA"),
}
SOURCES: dict[str, str] = {
    **{name: text for name, (_, text) in IMAGES.items()},
    "sinusoids": "sine waves of random amplitude and phase",
}
LEARNERS: dict[str, str] = {
    "maml": "gradient steps from a learned start (Finn et al., 2017)",
    "fomaml": "the same without second derivatives",
    "anil": "MAML that adapts the head only (Raghu et al., 2020)",
    "implicit-maml": "the same start, found by implicit gradients (Rajeswaran et al., 2019)",
    "pixels": "nearest neighbour on the inputs; nothing to train",
}


@dataclass(frozen=True)
class Setting:
    """What a run is made of, as the options of `python -m mlcode train`; None: the usual."""

    learner: str = "maml"
    source: str = "glyphs"
    n_way: int = 5
    n_shot: int = 1
    n_query: int | None = None
    inner_lr: float | None = None
    n_inner_steps: int = 1
    n_test_steps: int | None = None
    meta_lr: float = 1e-3
    n_tasks: int = 16
    n_iterations: int = 1000
    statistics: str = "query"
    rotations: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raise ValueError if the learner or the source is unknown, with the nearest name."""
        check_choice("the learner", self.learner, list(LEARNERS))
        check_choice("the source", self.source, list(SOURCES))

    @property
    def classifies(self) -> bool:
        """Whether targets are classes."""
        return self.source in IMAGES


def make_source(setting: Setting, split: str) -> TaskSource:
    """The tasks of one split; functions have no splits, since each draw is a new one."""
    setting.check()
    if setting.source == "sinusoids":
        return Sinusoids(n_shot=setting.n_shot, n_query=setting.n_query or 10)
    characters, _ = IMAGES[setting.source]
    return Episodes(
        characters(split),
        setting.n_way,
        setting.n_shot,
        setting.n_query or 5,
        rotations=setting.rotations and split.startswith("train"),
    )


def make_learner(setting: Setting) -> MetaLearner:
    """An untrained learner whose first weights depend on the seed alone."""
    setting.check()
    loss_fn: LossFn = F.cross_entropy if setting.classifies else F.mse_loss
    if setting.learner == "pixels":
        if setting.classifies:
            return FeatureTransfer(n_way=setting.n_way, head="neighbour")
        return FeatureTransfer(head="ridge", loss_fn=loss_fn)
    steps: dict[str, Any] = {
        "n_inner_steps": setting.n_inner_steps,
        "n_test_steps": setting.n_test_steps,
    }
    rate = setting.inner_lr or (0.4 if setting.classifies else 0.01)
    network = _network(setting)
    if setting.learner == "implicit-maml":
        return ImplicitMAML(
            network, inner_lr=rate, loss_fn=loss_fn, statistics=setting.statistics, **steps
        )
    return MAML(
        network,
        inner_lr=rate,
        loss_fn=loss_fn,
        first_order=setting.learner == "fomaml",
        adapted=_head_of(network) if setting.learner == "anil" else "*",
        statistics=setting.statistics,
        **steps,
    )


def metric_of(setting: Setting) -> tuple[str, Callable | None]:
    """What is reported, by name, and the `metric` for `evaluate`."""
    return ("accuracy", accuracy) if setting.classifies else ("mean squared error", None)


def _network(setting: Setting) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)  # restored on leaving
        return ConvNet(setting.n_way) if setting.classifies else MLP(1, 40, 40, 1)


def _head_of(network: nn.Module) -> str:
    return "head.*" if isinstance(network, ConvNet) else "4.*"
