"""Update rules that the outer gradient can pass through: gradient descent, momentum, Adam."""

import torch
from torch import Tensor

from mlcode.checks import check_fraction, check_positive
from mlcode.optimization.inner_loop import Parameters, State, UpdateRule


class GradientDescent(UpdateRule):
    """θ ← θ − α g.

    Args:
        lr: α.

    Raises:
        TypeError: If `lr` is no number.
        ValueError: If `lr` is not positive.
    """

    def __init__(self, lr: float) -> None:
        super().__init__()
        check_positive("lr", lr)
        self.lr = lr

    def forward(
        self, theta: Parameters, gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """One step; there is no state."""
        return {name: p - self.lr * gradient[name] for name, p in theta.items()}, state


class Momentum(UpdateRule):
    """v ← μ v + g, then θ ← θ − α v: `torch.optim.SGD` with momentum, made differentiable.

    Args:
        lr: α.
        momentum: μ, from 0 up to but not including 1.

    Raises:
        TypeError: If one is no number.
        ValueError: If `lr` is not positive or `momentum` not in [0, 1).
    """

    def __init__(self, lr: float, momentum: float = 0.9) -> None:
        super().__init__()
        check_positive("lr", lr)
        check_fraction("momentum", momentum)
        self.lr, self.momentum = lr, momentum

    def init(self, theta: Parameters) -> State:
        """No velocity yet."""
        return {name: torch.zeros_like(p) for name, p in theta.items()}

    def forward(
        self, theta: Parameters, gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """One step and the new velocity."""
        velocity = {name: self.momentum * state[name] + g for name, g in gradient.items()}
        return {name: p - self.lr * velocity[name] for name, p in theta.items()}, velocity


class Adam(UpdateRule):
    """Adam (Kingma and Ba, 2015): `torch.optim.Adam`, made differentiable.

    Where a squared gradient has been 0 so far, √v has no derivative; there 0 is taken for it.

    Args:
        lr: α.
        betas: Decay of the mean and of the mean square. (0, 0.999) is Reptile's inner optimizer.
        eps: Added to √v.

    Raises:
        TypeError: If one is no number.
        ValueError: If `lr` or `eps` is not positive or a beta not in [0, 1).
    """

    def __init__(
        self, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__()
        check_positive("lr", lr)
        check_positive("eps", eps)
        for beta in betas:
            check_fraction("a beta", beta)
        self.lr, self.betas, self.eps = lr, betas, eps

    def init(self, theta: Parameters) -> State:
        """Means of zero, at step 0."""
        zeros = {name: torch.zeros_like(p) for name, p in theta.items()}
        step = next(iter(theta.values())).new_zeros(())
        return {"step": step, "mean": zeros, "square": dict(zeros)}

    def forward(
        self, theta: Parameters, gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """One step and the new means."""
        b1, b2 = self.betas
        step = state["step"] + 1
        mean = {n: b1 * state["mean"][n] + (1 - b1) * g for n, g in gradient.items()}
        square = {n: b2 * state["square"][n] + (1 - b2) * g * g for n, g in gradient.items()}
        rate, root = self.lr / (1 - b1**step), (1 - b2**step).sqrt()
        theta = {
            n: p - rate * mean[n] / (_sqrt(square[n]) / root + self.eps) for n, p in theta.items()
        }
        return theta, {"step": step, "mean": mean, "square": square}


def _sqrt(v: Tensor) -> Tensor:
    positive = v > 0
    return torch.where(positive, torch.where(positive, v, 1.0).sqrt(), 0.0)
