"""A policy that nobody wrote down: a recurrent network that reads its own pulls and rewards."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mlcode.checks import check_choice, check_int
from mlcode.sources.bandits import Bandits


class Memory(NamedTuple):
    """What the network holds of each game."""

    output: Float[Tensor, "task hidden"]  # what the next arm is chosen by
    state: Tensor | tuple[Tensor, Tensor]  # as the recurrent layer hands it on


class Judgement(NamedTuple):
    """What the network says before each pull of a game."""

    logits: Float[Tensor, "task pull arm"]  # of the arms
    values: Float[Tensor, "task pull"]  # the reward that it expects from here to the end


class RecurrentPolicy(nn.Module):
    """Chooses the next arm from a state that is updated by (last arm, last reward).

    The learner of Duan et al. (2016) and Wang et al. (2016), for bandits: its weights are trained
    over many bandits, slowly; within a game they stay as they are, and all that is learned about
    its arms is in the state. `begin` sets the state to zero, so that every bandit is met afresh. A
    second output, which no choice depends on, foresees the reward still to come; training measures
    rewards against it.

    Args:
        n_arms: Arms of the bandits.
        n_hidden: Numbers in the state.
        cell: "gru" or "lstm", torch's own.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If a count is below 1 or the cell unknown.
    """

    def __init__(
        self, n_arms: int, *, n_hidden: int = 48, cell: Literal["gru", "lstm"] = "gru"
    ) -> None:
        super().__init__()
        check_int("n_arms", n_arms, minimum=1)
        check_int("n_hidden", n_hidden, minimum=1)
        check_choice("cell", cell, ("gru", "lstm"))
        self.n_arms = n_arms
        kind = nn.GRU if cell == "gru" else nn.LSTM
        self.recurrent = kind(n_arms + 1, n_hidden, batch_first=True)
        self.actor = nn.Linear(n_hidden, n_arms)
        self.critic = nn.Linear(n_hidden, 1)

    def forward(
        self, arms: Int[Tensor, "task pull"], rewards: Float[Tensor, "task pull"]
    ) -> Judgement:
        """What the network says before each pull of games that were played, in one sweep.

        Before pull t it has read the pulls before t and not pull t itself.

        Raises:
            ValueError: If arms and rewards differ in shape, or an arm is none of 0 … n_arms − 1.
        """
        if arms.ndim != 2 or arms.shape != rewards.shape:
            raise ValueError(
                "expected arms and rewards of the shape (task, pull); "
                f"got {tuple(arms.shape)} and {tuple(rewards.shape)}."
            )
        read = torch.cat([self._nothing(len(arms)), self._read(arms, rewards)[:, :-1]], 1)
        hidden = self.recurrent(read)[0][:, : arms.shape[1]]  # of games without pulls: nothing
        return Judgement(self.actor(hidden), self.critic(hidden)[..., 0])

    def begin(self, bandits: Bandits, n_pulls: int) -> Memory:
        """The same state in every game; it knows of no earlier one.

        Raises:
            ValueError: If the bandits have another number of arms.
        """
        if bandits.n_arms != self.n_arms:
            raise ValueError(
                f"the policy was made for {self.n_arms} arms; got bandits with {bandits.n_arms}."
            )
        output, state = self.recurrent(self._nothing(bandits.n_tasks))
        return Memory(output[:, 0], state)

    def choose(self, memory: Memory, generator: torch.Generator | None) -> Int[Tensor, "task"]:
        """An arm, drawn from the network's distribution over them."""
        chances = self.actor(memory.output).softmax(-1)
        at = generator.device if generator is not None else chances.device
        drawn = torch.multinomial(chances.to(at), 1, generator=generator)[:, 0]
        return drawn.to(chances.device)

    def observe(
        self, memory: Memory, arm: Int[Tensor, "task"], reward: Float[Tensor, "task"]
    ) -> Memory:
        """One step of the recurrent layer."""
        read = self._read(arm[:, None], reward[:, None])
        output, state = self.recurrent(read, memory.state)
        return Memory(output[:, 0], state)

    def _nothing(self, n_tasks: int) -> Float[Tensor, "task 1 feature"]:
        return self.actor.weight.new_zeros(n_tasks, 1, self.n_arms + 1)

    def _read(
        self, arms: Int[Tensor, "task pull"], rewards: Float[Tensor, "task pull"]
    ) -> Float[Tensor, "task pull feature"]:
        if arms.numel() and not 0 <= int(arms.min()) <= int(arms.max()) < self.n_arms:
            raise ValueError(
                f"arms are numbered 0 … {self.n_arms - 1}; "
                f"got {int(arms.min())} … {int(arms.max())}."
            )
        rewards = rewards.to(self.actor.weight.dtype)
        return torch.cat([F.one_hot(arms, self.n_arms).to(rewards), rewards[..., None]], -1)
