"""Update rules that are themselves learned: an LSTM for each coordinate, and three numbers."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mlcode.checks import check_fraction, check_int, check_positive
from mlcode.model_based.cells import LSTMCell
from mlcode.optimization.inner_loop import Parameters, State, UpdateRule


def log_and_sign(
    gradient: Float[Tensor, "*coordinate"], p: float = 10.0
) -> Float[Tensor, "*coordinate 2"]:
    """Gradients of any size as two numbers of moderate size each.

    (log(g)/p, sign(g)), with the magnitude of g under the logarithm, where that is at least
    exp(−p), and (−1, exp(p) g) below (Andrychowicz et al., 2016, appendix A). Both are continuous.

    Args:
        gradient: g.
        p: Gradients smaller than exp(−p) count as small; the paper's 10.
    """
    log = gradient.abs().clamp(min=math.exp(-p)).log() / p
    sign = (gradient * math.exp(p)).clamp(-1, 1)
    return torch.stack([log, sign], dim=-1)


class LSTMRule(UpdateRule):
    """θ ← θ + c · LSTM(g): one small recurrent network, applied to each coordinate on its own.

    All coordinates share its weights, and each has its own state, so that it runs on problems of
    any size, and renaming coordinates renames the steps (Andrychowicz et al., 2016, section 2.1).

    Differs from the authors' code in how weights begin (torch's default for each layer) and in the
    preprocessing, which is the paper's.

    Args:
        n_hidden: Features of each layer; the paper's 20.
        n_layers: LSTM layers; the paper's 2.
        p: Of `log_and_sign`, through which gradients pass first. None: they come as they are, as
            in the paper's quadratic functions.
        output_scale: c, the size of a step for an output of 1; the paper's 0.1 for networks.

    Raises:
        TypeError: If a number is of the wrong type.
        ValueError: If a number is not positive.
    """

    def __init__(
        self,
        n_hidden: int = 20,
        n_layers: int = 2,
        *,
        p: float | None = 10.0,
        output_scale: float = 0.1,
    ) -> None:
        super().__init__()
        check_int("n_hidden", n_hidden, minimum=1)
        check_int("n_layers", n_layers, minimum=1)
        check_positive("output_scale", output_scale)
        if p is not None:
            check_positive("p", p)
        widths = [1 if p is None else 2] + [n_hidden] * n_layers
        self.cells = nn.ModuleList(LSTMCell(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(n_hidden, 1)
        self.n_hidden, self.p, self.output_scale = n_hidden, p, output_scale

    def init(self, theta: Parameters) -> State:
        """Outputs and memories of zero for each layer and coordinate."""
        n = sum(p.numel() for p in theta.values())
        zeros = next(iter(theta.values())).new_zeros(n, self.n_hidden)
        return [(zeros, zeros) for _ in self.cells]

    def forward(
        self, theta: Parameters, gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """One step of every coordinate and the new states."""
        flat = torch.cat([gradient[name].reshape(-1) for name in theta])
        h = flat[:, None] if self.p is None else log_and_sign(flat, self.p)
        after = []
        for cell, before in zip(self.cells, state):
            h, memory = cell(h, before)
            after.append((h, memory))
        steps = self.output_scale * self.head(h)[:, 0]
        parts = steps.split([p.numel() for p in theta.values()])
        moved = {n: p + part.reshape(p.shape) for (n, p), part in zip(theta.items(), parts)}
        return moved, after

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"n_hidden={self.n_hidden}, p={self.p}, output_scale={self.output_scale}"


class InterpretableRule(UpdateRule):
    """Gradient descent with momentum and a decaying rate, its three numbers learned.

    v ← μ v + g, then θ ← θ − α γᵗ v at step t = 0, 1, …: what a learned optimizer can be without a
    network, and then one reads what it has learned. α is positive through a softplus, μ and γ lie
    between 0 and 1 through a sigmoid; the arguments of these are the parameters.

    Args:
        lr: α at the start.
        momentum: μ at the start, above 0.
        decay: γ at the start, the factor by which the rate shrinks a step, above 0.

    Raises:
        TypeError: If one is no number.
        ValueError: If `lr` is not positive, or `momentum` or `decay` not between 0 and 1.
    """

    def __init__(self, lr: float = 0.1, momentum: float = 0.5, decay: float = 0.99) -> None:
        super().__init__()
        check_positive("lr", lr)
        for name, value in (("momentum", momentum), ("decay", decay)):
            check_fraction(name, value)
            check_positive(name, value)  # 0 is no sigmoid of anything
        # The inverse of the softplus, log(exp(α) − 1), in a form that does not overflow.
        self.raw_lr = nn.Parameter(torch.tensor(lr + math.log(-math.expm1(-lr))))
        self.raw_momentum = nn.Parameter(torch.tensor(math.log(momentum / (1 - momentum))))
        self.raw_decay = nn.Parameter(torch.tensor(math.log(decay / (1 - decay))))

    @property
    def lr(self) -> Float[Tensor, ""]:
        """α, as learned so far."""
        return F.softplus(self.raw_lr)

    @property
    def momentum(self) -> Float[Tensor, ""]:
        """μ, as learned so far."""
        return self.raw_momentum.sigmoid()

    @property
    def decay(self) -> Float[Tensor, ""]:
        """γ, as learned so far."""
        return self.raw_decay.sigmoid()

    def init(self, theta: Parameters) -> State:
        """No velocity yet, and the full rate."""
        velocity = {name: torch.zeros_like(p) for name, p in theta.items()}
        return velocity, next(iter(theta.values())).new_ones(())

    def forward(
        self, theta: Parameters, gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """One step, the new velocity and what is left of the rate."""
        velocity, left = state
        velocity = {name: self.momentum * velocity[name] + g for name, g in gradient.items()}
        rate = self.lr * left
        moved = {name: p - rate * velocity[name] for name, p in theta.items()}
        return moved, (velocity, left * self.decay)
