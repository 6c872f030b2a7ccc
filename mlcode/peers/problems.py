"""Where the ledger's steps start: networks and tasks that depend on a seed alone, in float64."""

from collections.abc import Callable

import torch
from torch import nn

from mlcode.networks import MLP
from mlcode.sources.sinusoids import Sinusoids
from mlcode.tasks import Examples, Tasks

Problem = tuple[nn.Module, Tasks]


def sinusoid_problem(seed: int) -> Problem:
    """The MAML paper's network and a batch of its size: 25 sinusoids, 10 shots."""
    model = seeded(seed, lambda: MLP(1, 40, 40, 1))
    generator = torch.Generator().manual_seed(seed)
    return model, Sinusoids(dtype=torch.float64).sample(25, generator=generator)


def smooth_problem(seed: int) -> Problem:
    """A network without kinks and 8 sinusoids of 10 shots.

    For Adam, not the paper's ReLUs: a unit that is off has the gradient 0, and the derivative of √0
    is infinite. mlcode and higher put 0 in its place, TorchOpt makes NaN of it.
    """
    model = seeded(seed, lambda: nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1)))
    generator = torch.Generator().manual_seed(seed)
    return model, Sinusoids(dtype=torch.float64).sample(8, generator=generator)


def noise_problem(seed: int) -> Problem:
    """A smooth network of 2 inputs and 3 tasks of noise, whose curvature is small.

    For the implicit gradient: plain descent with the pull of `ImplicitSetting` reaches the
    solution to its last digit in some hundred steps.
    """
    model = seeded(seed, lambda: nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)))
    return model, noise(seed, n_tasks=3, n_shot=8, n_query=6, n_features=2)


def linear_problem(seed: int) -> Problem:
    """A linear model of 6 inputs and 3 tasks of noise: what pencil and paper can solve."""
    tasks = noise(seed, n_tasks=3, n_shot=20, n_query=15, n_features=6)
    return seeded(seed, lambda: nn.Sequential(nn.Linear(6, 1))), tasks


def noise(seed: int, n_tasks: int, n_shot: int, n_query: int, n_features: int) -> Tasks:
    """Tasks of standard normal inputs and targets."""
    draw = torch.Generator().manual_seed(seed)

    def examples(n: int) -> Examples:
        x = torch.randn(n_tasks, n, n_features, generator=draw, dtype=torch.float64)
        return Examples(x, torch.randn(n_tasks, n, 1, generator=draw, dtype=torch.float64))

    return Tasks(examples(n_shot), examples(n_query))


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` makes, in float64, from `seed` and nothing else."""
    with torch.random.fork_rng(devices=[]):  # the caller's global generator stays where it was
        torch.manual_seed(seed)
        return make().to(torch.float64)
