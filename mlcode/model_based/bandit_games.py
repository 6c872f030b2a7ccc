"""Playing bandits: what a policy is, a batch of games, and the reward that one earns."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mlcode.checks import check_int
from mlcode.evaluation import EVALUATION_SEED, Estimate
from mlcode.sources.bandits import Bandits, BanditSource


@runtime_checkable
class Policy(Protocol):
    """Chooses arms, in many games at once, by what it has seen in each.

    Nothing is kept in the policy: what it remembers of the games is handed back to it, and
    `begin` makes it anew, so that no game can know of another.
    """

    def begin(self, bandits: Bandits, n_pulls: int) -> Any:
        """What is remembered before the first pull: the same in every game.

        Of `bandits` only their number, arms, device and dtype may be looked at.
        """
        ...

    def choose(self, memory: Any, generator: torch.Generator | None) -> Int[Tensor, "task"]:
        """The arm to pull next in each game."""
        ...

    def observe(self, memory: Any, arm: Int[Tensor, "task"], reward: Float[Tensor, "task"]) -> Any:
        """What is remembered after a pull and its reward."""
        ...


@dataclass(frozen=True)
class Games:
    """What happened in a batch of games."""

    arms: Int[Tensor, "task pull"]  # which arm was pulled
    rewards: Float[Tensor, "task pull"]  # 0 or 1

    @property
    def total_reward(self) -> Float[Tensor, "task"]:
        """The reward of each game, summed over its pulls."""
        return self.rewards.sum(1)


@torch.no_grad()
def play(
    policy: Policy,
    bandits: Bandits,
    n_pulls: int,
    *,
    generator: torch.Generator | None = None,
) -> Games:
    """Play one game with each bandit, all in step.

    Args:
        policy: Who plays.
        bandits: The machines; the policy starts each of them without knowing anything.
        n_pulls: Pulls a game. 0: games in which nothing happens, with total reward 0.
        generator: Draws the rewards and whatever a policy draws. None: torch's global one.

    Raises:
        TypeError: If `n_pulls` is not an integer.
        ValueError: If it is negative, or the policy was made for another number of arms or pulls.
    """
    check_int("n_pulls", n_pulls, minimum=0)
    p = bandits.probability
    arms = torch.zeros(bandits.n_tasks, n_pulls, dtype=torch.long, device=p.device)
    rewards = torch.zeros(bandits.n_tasks, n_pulls, dtype=p.dtype, device=p.device)
    memory = policy.begin(bandits, n_pulls)
    for t in range(n_pulls):
        arms[:, t] = policy.choose(memory, generator)
        rewards[:, t] = bandits.pull(arms[:, t], generator=generator)
        memory = policy.observe(memory, arms[:, t], rewards[:, t])
    return Games(arms, rewards)


def total_reward(
    policy: Policy,
    source: BanditSource,
    n_pulls: int,
    n_tasks: int = 1000,
    *,
    generator: torch.Generator | None = None,
) -> Estimate:
    """The reward that a policy earns in a game, as a mean over fresh bandits with its interval.

    Args:
        policy: Who plays.
        source: Where the bandits come from.
        n_pulls: Pulls a game.
        n_tasks: Games.
        generator: Draws all of it. None: one with a fixed seed, so that every policy meets the same
            bandits, if not the same luck.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If there are fewer than 2 games, or as for `play`.
    """
    check_int("n_tasks", n_tasks, minimum=2)
    generator = generator or torch.Generator().manual_seed(EVALUATION_SEED)
    bandits = source.sample(n_tasks, generator=generator)
    games = play(policy, bandits, n_pulls, generator=generator)
    return Estimate.of(games.total_reward.double().numpy())
