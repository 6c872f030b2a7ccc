"""Policies for bandits that people made: random, greedy, Thompson sampling and UCB1.

Each sees the wins and losses of every arm, gives every arm a score, and pulls the highest.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mlcode.sources.bandits import Bandits, Prior, beta, check_prior


class Tally(NamedTuple):
    """What has been seen of each arm, and how much play is left."""

    wins: Float[Tensor, "task arm"]
    losses: Float[Tensor, "task arm"]
    n_left: int  # pulls, the next one included


class IndexPolicy(ABC):
    """Pulls an arm with the highest index; of several such arms, one at random."""

    def begin(self, bandits: Bandits, n_pulls: int) -> Tally:
        """Nothing won, nothing lost."""
        zeros = torch.zeros_like(bandits.probability, dtype=torch.float64)
        return Tally(zeros, zeros, n_pulls)

    def choose(self, memory: Tally, generator: torch.Generator | None) -> Int[Tensor, "task"]:
        """An arm with the highest index in each game."""
        index = self.index(memory, generator)
        best = (index == index.max(1, keepdim=True).values).double()
        at = generator.device if generator is not None else best.device
        return torch.multinomial(best.to(at), 1, generator=generator)[:, 0].to(index.device)

    def observe(
        self, memory: Tally, arm: Int[Tensor, "task"], reward: Float[Tensor, "task"]
    ) -> Tally:
        """One more win or loss of the arm that was pulled."""
        pulled = torch.zeros_like(memory.wins).scatter_(1, arm[:, None], 1.0)
        won = pulled * reward.to(pulled.dtype)[:, None]
        return Tally(memory.wins + won, memory.losses + pulled - won, memory.n_left - 1)

    @abstractmethod
    def index(self, tally: Tally, generator: torch.Generator | None) -> Float[Tensor, "task arm"]:
        """How much each arm is worth pulling."""


class RandomArm(IndexPolicy):
    """Any arm, whatever was seen."""

    def index(self, tally: Tally, generator: torch.Generator | None) -> Float[Tensor, "task arm"]:
        """The same for all."""
        return torch.zeros_like(tally.wins)


class BayesianPolicy(IndexPolicy):
    """A policy that knows from which distribution the arms' probabilities come.

    Args:
        prior: (a, b) of that beta distribution; after w wins and l losses it is (a + w, b + l).

    Raises:
        TypeError: If the prior is not two numbers.
        ValueError: If one is not positive.
    """

    def __init__(self, prior: Prior = (1.0, 1.0)) -> None:
        check_prior(prior)
        self.prior = prior

    def posterior(
        self, tally: Tally
    ) -> tuple[Float[Tensor, "task arm"], Float[Tensor, "task arm"]]:
        """(a, b) of each arm's beta distribution, given what was seen."""
        return self.prior[0] + tally.wins, self.prior[1] + tally.losses


class Greedy(BayesianPolicy):
    """The arm that looks best: the one with the highest posterior mean. It never explores."""

    def index(self, tally: Tally, generator: torch.Generator | None) -> Float[Tensor, "task arm"]:
        """The posterior mean."""
        a, b = self.posterior(tally)
        return a / (a + b)


class Thompson(BayesianPolicy):
    """Thompson sampling: each arm with the probability that it is the best."""

    def index(self, tally: Tally, generator: torch.Generator | None) -> Float[Tensor, "task arm"]:
        """A probability that the arm might have: a draw from its posterior."""
        return beta(*self.posterior(tally), generator)


class UCB1(IndexPolicy):
    """The arm that could be best: mean plus √(2 ln t / n) (Auer et al., 2002, figure 1).

    t pulls were made in all and n of this arm; each arm is pulled once first.
    """

    def index(self, tally: Tally, generator: torch.Generator | None) -> Float[Tensor, "task arm"]:
        """The upper end of a confidence interval; infinite for an arm not yet pulled."""
        n = tally.wins + tally.losses
        t = n.sum(1, keepdim=True)
        bound = tally.wins / n + (2 * t.log() / n).sqrt()
        return torch.where(n > 0, bound, math.inf)
