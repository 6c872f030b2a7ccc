"""What several test files need: small tasks, small networks, and the distance between results."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis.strategies import integers
from torch import nn

from mlcode import Examples, Tasks

# The compiler itself imports something that torch has deprecated.
compiles = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")

REPOSITORY = Path(__file__).resolve().parent.parent
SEEDS = integers(0, 2**32 - 1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_tasks(n_tasks, n_shot, n_query, feature, target, *, seed=0, classes=None) -> Tasks:
    """Tasks of pure noise in float64: laws that hold for these hold for any."""
    draw = seeded(seed)

    def examples(n):
        x = torch.randn(n_tasks, n, *feature, generator=draw, dtype=torch.float64)
        if classes is not None:
            return Examples(x, torch.randint(classes, (n_tasks, n), generator=draw))
        return Examples(x, torch.randn(n_tasks, n, *target, generator=draw, dtype=torch.float64))

    return Tasks(examples(n_shot), examples(n_query))


def network(*layers: nn.Module, seed: int = 0) -> nn.Sequential:
    """A network in float64 whose weights depend on `seed` alone."""
    return reseed(nn.Sequential(*layers).double(), seed)


def reseed(module, seed: int = 0):
    draw = seeded(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=draw, dtype=p.dtype))
    return module


def smooth_net(n_in=1, n_out=1, *, seed=0) -> nn.Sequential:
    """No kinks, so finite differences converge."""
    return network(nn.Linear(n_in, 8), nn.Tanh(), nn.Linear(8, n_out), seed=seed)


def conv_net(*, stride: int, classes=3, seed=0) -> nn.Sequential:
    """For 1 × 6 × 6 images."""
    side = 4 if stride == 1 else 2
    conv = nn.Conv2d(1, 3, 3, stride=stride)
    return network(conv, nn.ReLU(), nn.Flatten(), nn.Linear(3 * side**2, classes), seed=seed)


def gradients(learner, tasks) -> dict[str, torch.Tensor]:
    """The meta-gradient, by name; zero where no gradient flows."""
    named = dict(learner.named_parameters())
    found = torch.autograd.grad(
        learner(tasks), list(named.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(named, found))


def distance(a, b) -> float:
    """Largest difference of two tensors, or of two dictionaries of them, relative to their size."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return max(distance(a[name], b[name]) for name in a)
    a, b = a.detach(), b.detach()
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    scale = max(1.0, float(b.abs().max())) if b.numel() else 1.0
    return float((a - b).abs().max()) / scale if b.numel() else 0.0


def snapshot(module) -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in module.state_dict().items()}


def same(a, b) -> bool:
    """Bit-identical, through dictionaries and lists (state_dicts)."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def python(*arguments, timeout=120, **environment) -> subprocess.CompletedProcess:
    """Run a fresh Python that can import the package, without the tests' shape checks."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
