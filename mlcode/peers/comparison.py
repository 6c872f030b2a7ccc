"""The registry of the ledger: what is compared for each algorithm. One entry an algorithm.

A new algorithm needs a file beside `maml.py` with its settings and one small function for each
library, and an entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from mlcode.peers import images, implicit, maml, meta_sgd, metric, reptile, rules
from mlcode.peers.finite_differences import Objective
from mlcode.peers.maml_objective import maml_objective
from mlcode.peers.meta_step import Prepare
from mlcode.peers.problems import (
    Problem,
    linear_problem,
    noise_problem,
    sinusoid_problem,
    smooth_problem,
)
from mlcode.tasks import Tasks


@dataclass(frozen=True)
class Comparison:
    """How the meta-step of one algorithm is compared.

    Args:
        title: The algorithm's name in tables.
        settings: A dataclass with defaults, `meta_lr` among them, whose `str` names the setting.
        grid: The settings that the ledger runs, as keyword arguments of `settings`.
        problem: Makes a model and tasks from a seed, in float64 on the CPU.
        mlcode: The step as this package takes it.
        peers: The step in other libraries, by their import names.
        witnesses: The step by other means, such as a closed form, by what the table calls them.
        objective: The meta-objective in plain PyTorch, for finite differences. None: no such check.
        dtypes: In which arithmetic the ledger takes the step.
    """

    title: str
    settings: Callable[..., Any]
    grid: tuple[dict[str, Any], ...]
    problem: Callable[[int], Problem]
    mlcode: Prepare
    peers: Mapping[str, Prepare]
    witnesses: Mapping[str, Prepare] | None = None
    objective: Callable[[nn.Module, Tasks, Any], Objective] | None = None
    dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.float32)


def image_comparison(downsampling: str) -> Comparison:
    """MAML on a small ConvNet of one shape, in float64.

    In float32 losses and meta-gradients agree to six digits, but the parameters do not: the biases
    before batch norm have the gradient zero, and Adam turns its rounding into whole steps.
    """
    return Comparison(
        title={"stride": "MAML, strided ConvNet", "pool": "MAML, pooling ConvNet"}[downsampling],
        settings=images.ImageSetting,
        grid=_grid(1, 3),
        problem=partial(images.image_problem, downsampling=downsampling),
        mlcode=maml.by_mlcode,
        peers=MAML_PEERS,
        objective=maml_objective,
        dtypes=(torch.float64,),
    )


def _grid(*step_counts: int) -> tuple[dict[str, Any], ...]:
    """Every number of inner steps in both orders."""
    return tuple(
        {"n_inner_steps": n_inner_steps, "first_order": first_order}
        for n_inner_steps in step_counts
        for first_order in (False, True)
    )


MAML_PEERS = {
    "learn2learn": maml.by_learn2learn,
    "higher": maml.by_higher,
    "torchopt": maml.by_torchopt,
}
RULE_PEERS = {"higher": maml.by_higher, "torchopt": maml.by_torchopt}
FLOAT64 = (torch.float64,)
COMPARISONS: dict[str, Comparison] = {
    "maml": Comparison(
        title="MAML",
        settings=maml.MAMLSetting,
        grid=_grid(1, 5),
        problem=sinusoid_problem,
        mlcode=maml.by_mlcode,
        peers=MAML_PEERS,
        objective=maml_objective,
    ),
    "maml-images": image_comparison("stride"),
    "maml-images-pool": image_comparison("pool"),
    "maml-momentum": Comparison(
        title="MAML, momentum within",
        settings=rules.MomentumSetting,
        grid=_grid(5),
        problem=smooth_problem,
        mlcode=maml.by_mlcode,
        peers=RULE_PEERS,
        objective=maml_objective,
        dtypes=FLOAT64,
    ),
    "maml-adam": Comparison(
        title="MAML, Adam within",
        settings=rules.AdamSetting,
        grid=_grid(5),
        problem=smooth_problem,
        mlcode=maml.by_mlcode,
        peers=RULE_PEERS,
        objective=maml_objective,
        dtypes=FLOAT64,
    ),
    "maml-checkpointed": Comparison(
        title="MAML, checkpointed",
        settings=rules.CheckpointSetting,
        grid=_grid(9),
        problem=sinusoid_problem,
        mlcode=rules.by_mlcode_checkpointed,
        peers={"learn2learn": maml.by_learn2learn},
        witnesses={"the plain unroll": maml.by_mlcode},
        dtypes=FLOAT64,
    ),
    "implicit": Comparison(
        title="Implicit MAML",
        settings=implicit.ImplicitSetting,
        grid=({},),
        problem=noise_problem,
        mlcode=implicit.by_mlcode,
        peers={"torchopt": implicit.by_torchopt},
        objective=implicit.implicit_objective,
        dtypes=FLOAT64,
    ),
    "implicit-linear": Comparison(
        title="Implicit MAML, linear model",
        settings=implicit.ImplicitSetting,
        grid=({},),
        problem=linear_problem,
        mlcode=implicit.by_mlcode,
        peers={"torchopt": implicit.by_torchopt},
        witnesses={"the exact solution": implicit.exactly},
        dtypes=FLOAT64,
    ),
    "reptile": Comparison(
        title="Reptile",
        settings=reptile.ReptileSetting,
        grid=({"n_inner_steps": 1}, {"n_inner_steps": 5}),
        problem=sinusoid_problem,
        mlcode=reptile.by_mlcode,
        peers={"learn2learn": reptile.by_learn2learn, "higher": reptile.by_higher},
        witnesses={"by hand": reptile.by_hand},
        dtypes=FLOAT64,
    ),
    "reptile-adam": Comparison(
        title="Reptile, Adam within",
        settings=reptile.ReptileAdamSetting,
        grid=({"n_inner_steps": 5},),
        problem=sinusoid_problem,
        mlcode=reptile.by_mlcode,
        peers={"higher": reptile.by_higher},
        witnesses={"by hand": reptile.by_hand},
        dtypes=FLOAT64,
    ),
    "meta-sgd": Comparison(
        title="Meta-SGD",
        settings=meta_sgd.MetaSGDSetting,
        grid=_grid(1, 3),
        problem=meta_sgd.meta_sgd_problem,
        mlcode=meta_sgd.by_mlcode,
        peers={"learn2learn": meta_sgd.by_learn2learn, "higher": meta_sgd.by_higher},
        objective=meta_sgd.meta_sgd_objective,
        dtypes=FLOAT64,
    ),
    **metric.metric_comparisons(),
}
