"""What the bench times: the published settings of each algorithm that another library has too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mlcode.engine import compiled_gradient
from mlcode.peers import maml, meta_sgd, metric, reptile, rules
from mlcode.peers.images import ImageSetting
from mlcode.peers.meta_step import MetaGradient, Prepare
from mlcode.peers.networks import TorchConvNet
from mlcode.peers.problems import Problem, seeded, sinusoid_problem, smooth_problem
from mlcode.tasks import Examples, Tasks

# At the size of the sinusoids a second thread helps no contender, and on a busy machine threads
# that wait for each other cost mlcode's batched operations a factor of 40 (the peers' small ones
# use one). Images are large enough to share.
FEW, MANY = 1, 2


@dataclass(frozen=True)
class Workload:
    """One row of the bench: a meta-step that several libraries take.

    Args:
        title: The algorithm and what it learns from.
        setting: Of the algorithm, as its contenders take it.
        problem: Makes network and tasks from a seed.
        contenders: The steps, "mlcode" among them.
        threads: On a CPU.
        n_rounds: As many rounds as the command is asked for, or these if fewer: steps on images
            take a second.
    """

    title: str
    setting: Any
    problem: Callable[[int], Problem]
    contenders: Mapping[str, Prepare]
    threads: int = FEW
    n_rounds: int = 30


def by_mlcode_compiled(model: nn.Module, setting: maml.MAMLSetting) -> MetaGradient:
    """mlcode's step with loss and meta-gradient in one compiled graph."""
    return compiled_gradient(maml.maml_learner(model, setting))


def omniglot_problem(
    seed: int,
    downsampling: str,
    n_tasks: int,
    n_shot: int,
    n_query: int,
    n_way: int = 5,
    n_out: int | None = 5,
) -> Problem:
    """A network of 64 filters and tasks of noise in the size of Omniglot's images."""
    model = seeded(seed, lambda: TorchConvNet(n_out, 64, downsampling, image_size=28, n_blocks=4))
    draw = torch.Generator().manual_seed(seed)

    def examples(each: int) -> Examples:
        x = torch.rand(n_tasks, n_way * each, 1, 28, 28, generator=draw, dtype=torch.float64)
        return Examples(x, torch.arange(n_way).repeat(n_tasks, each))

    return model, Tasks(examples(n_shot), examples(n_query))


def with_rates(seed: int, problem: Callable[[int], Problem], lr: float) -> Problem:
    """The problem with a rate for each parameter, as Meta-SGD needs it."""
    network, tasks = problem(seed)
    return meta_sgd.WithRates(network, lr, generator=torch.Generator().manual_seed(seed)), tasks


COMPILED = "mlcode, compiled"
ALL_THREE = {
    "mlcode": maml.by_mlcode,
    "learn2learn": maml.by_learn2learn,
    "higher": maml.by_higher,
    "torchopt": maml.by_torchopt,
}
META_SGD = {
    "mlcode": meta_sgd.by_mlcode,
    "learn2learn": meta_sgd.by_learn2learn,
    "higher": meta_sgd.by_higher,
}
REPTILE = {
    "mlcode": reptile.by_mlcode,
    "learn2learn": reptile.by_learn2learn,
    "higher": reptile.by_higher,
}
STRIDED = partial(omniglot_problem, downsampling="stride", n_tasks=32, n_shot=1, n_query=1)
POOLED = partial(omniglot_problem, downsampling="pool", n_tasks=8, n_shot=1, n_query=15)
EPISODE = partial(
    omniglot_problem, downsampling="pool", n_tasks=1, n_shot=1, n_query=5, n_way=60, n_out=None
)
# An inner batch of 10 images, as published for 5-way tasks.
REPTILES = partial(omniglot_problem, downsampling="stride", n_tasks=5, n_shot=1, n_query=1)
ON_OMNIGLOT, ON_CONV4 = "on MAML's Omniglot setting", "on the pooled Conv4"

_images = partial(Workload, threads=MANY, n_rounds=5)
WORKLOADS = (
    Workload(
        "MAML on sinusoids",
        maml.MAMLSetting(),
        sinusoid_problem,
        {**ALL_THREE, COMPILED: by_mlcode_compiled},
    ),
    Workload(
        "MAML on sinusoids",
        maml.MAMLSetting(5),
        sinusoid_problem,
        {**ALL_THREE, COMPILED: by_mlcode_compiled},
    ),
    Workload(
        "MAML with Adam within, on sinusoids",
        rules.AdamSetting(),
        smooth_problem,
        {n: ALL_THREE[n] for n in ("mlcode", "higher", "torchopt")},
        n_rounds=15,
    ),
    Workload(
        "Meta-SGD on sinusoids",
        meta_sgd.MetaSGDSetting(),
        partial(with_rates, problem=sinusoid_problem, lr=0.01),
        META_SGD,
        n_rounds=15,
    ),
    Workload(
        "Reptile on sinusoids", reptile.ReptileSetting(), sinusoid_problem, REPTILE, n_rounds=15
    ),
    _images(
        f"MAML {ON_OMNIGLOT}", ImageSetting(), STRIDED, {**ALL_THREE, COMPILED: by_mlcode_compiled}
    ),
    _images(f"MAML {ON_OMNIGLOT}", ImageSetting(first_order=True), STRIDED, ALL_THREE),
    _images(
        f"Meta-SGD {ON_OMNIGLOT}",
        meta_sgd.MetaSGDSetting(loss_fn=F.cross_entropy, meta_lr=1e-5),
        partial(with_rates, problem=STRIDED, lr=0.4),
        META_SGD,
    ),
    _images(
        "Reptile on the strided ConvNet",
        reptile.ReptileSetting(inner_lr=0.1, loss_fn=F.cross_entropy, meta_lr=1e-5),
        REPTILES,
        {**REPTILE, COMPILED: reptile.by_mlcode_compiled},
    ),
    _images(f"MAML {ON_CONV4}", ImageSetting(), POOLED, ALL_THREE),
    _images(f"MAML {ON_CONV4}", ImageSetting(first_order=True), POOLED, ALL_THREE),
    _images(
        f"Prototypical network {ON_CONV4}, 60-way",
        metric.MetricSetting(),
        EPISODE,
        {"mlcode": metric.by_mlcode, "learn2learn": metric.by_learn2learn},
    ),
)
