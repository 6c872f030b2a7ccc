"""Bandits: tasks in which a learner chooses what it will see."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mlcode.checks import check_int, check_positive

Prior = tuple[float, float]


@dataclass(frozen=True)
class Bandits:
    """A batch of slot machines, one a task, that can be pulled in step with each other.

    Args:
        probability: With which each arm pays 1; otherwise it pays 0.

    Raises:
        TypeError: If the probabilities are not floating point.
        ValueError: If there are no tasks or no arms, or one is no number from 0 to 1.
    """

    probability: Float[Tensor, "task arm"]

    def __post_init__(self) -> None:
        p = self.probability
        if not p.is_floating_point():
            raise TypeError(f"probabilities must be floating point; got {p.dtype}.")
        if p.ndim != 2 or 0 in p.shape:
            raise ValueError(
                "expected probabilities of the shape (task, arm), at least one of each; "
                f"got {tuple(p.shape)}."
            )
        wrong = p[~((p >= 0) & (p <= 1))]  # which NaN is too
        if len(wrong):
            raise ValueError(f"an arm's probability must lie in [0, 1]; got {float(wrong[0])}.")

    @property
    def n_tasks(self) -> int:
        """How many bandits the batch holds."""
        return self.probability.shape[0]

    @property
    def n_arms(self) -> int:
        """How many arms each has."""
        return self.probability.shape[1]

    def pull(
        self, arm: Int[Tensor, "task"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "task"]:
        """Pull one arm of each bandit; returns the rewards, 0 or 1.

        Raises:
            ValueError: If there is not one arm a bandit, or one is none of 0 … n_arms − 1.
        """
        self._check(arm[:, None] if arm.ndim == 1 else arm, n_pulls=1)
        p = self.probability
        at = generator.device if generator is not None else "cpu"
        chance = torch.rand(self.n_tasks, generator=generator, device=at, dtype=torch.float64)
        return (chance.to(p.device) < p.gather(1, arm[:, None])[:, 0]).to(p.dtype)

    def regret(self, arms: Int[Tensor, "task pull"]) -> Float[Tensor, "task pull"]:
        """What each pull cost: the best arm's probability less that of the arm pulled.

        Its sum over pulls is the regret of a game. No chance is left in it but that of the choices.

        Raises:
            ValueError: As for `pull`.
        """
        self._check(arms)
        return self.probability.max(1, keepdim=True).values - self.probability.gather(1, arms)

    def _check(self, arms: Tensor, n_pulls: int | None = None) -> None:
        fits = arms.ndim == 2 and len(arms) == self.n_tasks
        if not fits or n_pulls not in (None, arms.shape[1]) or arms.is_floating_point():
            raise ValueError(
                f"expected integers, one row of arms for each of {self.n_tasks} bandits; "
                f"got the shape {tuple(arms.shape)} of {arms.dtype}."
            )
        if arms.numel() and not (int(arms.min()) >= 0 and int(arms.max()) < self.n_arms):
            wrong = arms[(arms < 0) | (arms >= self.n_arms)][0]
            raise ValueError(f"arms are numbered 0 … {self.n_arms - 1}; got {int(wrong)}.")


@runtime_checkable
class BanditSource(Protocol):
    """Anything that can draw bandits: a distribution over them, with arms as alike as it likes."""

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Bandits:
        """Draw `n_tasks` bandits with `generator` and place them on `device`."""
        ...


@dataclass(frozen=True)
class BernoulliBandits:
    """Bandits whose arms pay 1 with a probability of their own, else 0, drawn once a task.

    With the uniform prior these are the bandits of Duan et al. (2016) and Mishra et al. (2018). A
    learner of bandits is not told the probabilities and chooses what it will see, so that there is
    no support set to hand to it: `sample` returns the machines themselves.

    Args:
        n_arms: Arms of a bandit.
        prior: (a, b) of the beta distribution from which probabilities are drawn independently.
            (1, 1) is uniform on [0, 1].
        dtype: Of probabilities and rewards. None: torch's default.

    Raises:
        TypeError: If `n_arms` is not an integer or the prior not two numbers.
        ValueError: If `n_arms` is below 1 or a number of the prior not positive.
    """

    n_arms: int = 5
    prior: Prior = (1.0, 1.0)
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_int("n_arms", self.n_arms, minimum=1)
        check_prior(self.prior)

    def sample(
        self,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Bandits:
        """Draw `n_tasks` bandits, in float64 as `Sinusoids` does."""
        check_int("n_tasks", n_tasks, minimum=1)
        ones = torch.ones(n_tasks, self.n_arms, dtype=torch.float64)
        drawn = beta(self.prior[0] * ones, self.prior[1] * ones, generator)
        return Bandits(drawn.to(device, self.dtype or torch.get_default_dtype()))


def check_prior(prior: Prior) -> None:
    """Raise TypeError unless `prior` is two numbers, ValueError unless both are positive."""
    if not (isinstance(prior, tuple) and len(prior) == 2):
        raise TypeError(f"prior must be two numbers, (a, b) of a beta distribution; got {prior!r}.")
    check_positive("a of the prior", prior[0])
    check_positive("b of the prior", prior[1])


def beta(
    a: Float[Tensor, "*size"], b: Float[Tensor, "*size"], generator: torch.Generator | None
) -> Float[Tensor, "*size"]:
    """A draw from each beta distribution, on the device of `a`.

    torch draws gamma and beta variables from its global generator alone, so NumPy draws them, from
    a seed that `generator` gives.
    """
    at = generator.device if generator is not None else "cpu"
    seed = int(torch.randint(2**62, (), generator=generator, device=at))
    drawn = np.random.default_rng(seed).beta(a.cpu().numpy(), b.cpu().numpy())
    return torch.as_tensor(drawn, dtype=a.dtype, device=a.device)
