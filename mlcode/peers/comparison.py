"""The registry of the ledger: what is compared for each algorithm. One entry an algorithm.

A new algorithm needs a file beside `maml.py` with its settings and one small function for each
library, and an entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from mlcode.networks import MLP
from mlcode.peers import images, maml
from mlcode.peers.finite_differences import Objective
from mlcode.peers.maml_objective import maml_objective
from mlcode.peers.meta_step import Prepare
from mlcode.sources.sinusoids import Sinusoids
from mlcode.tasks import Tasks

Problem = tuple[nn.Module, Tasks]


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
        objective: The meta-objective in plain PyTorch, for finite differences. None: no such check.
        dtypes: In which arithmetic the ledger takes the step.
    """

    title: str
    settings: Callable[..., Any]
    grid: tuple[dict[str, Any], ...]
    problem: Callable[[int], Problem]
    mlcode: Prepare
    peers: Mapping[str, Prepare]
    objective: Callable[[nn.Module, Tasks, Any], Objective] | None = field(default=None)
    dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.float32)


def sinusoid_problem(seed: int) -> Problem:
    """The MAML paper's network and a batch of its size: 25 sinusoids, 10 shots."""
    with torch.random.fork_rng(devices=[]):  # the caller's global generator stays where it was
        torch.manual_seed(seed)
        model = MLP(1, 40, 40, 1).to(torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return model, Sinusoids(dtype=torch.float64).sample(25, generator=generator)


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
        mlcode=images.by_mlcode,
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
COMPARISONS = {
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
}
