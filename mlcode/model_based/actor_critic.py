"""Advantage actor-critic: how a recurrent policy learns from rewards alone."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from mlcode.checks import check_int, check_spread
from mlcode.model_based.bandit_games import Games, play
from mlcode.model_based.recurrent_policy import Judgement, RecurrentPolicy
from mlcode.sources.bandits import BanditSource


def advantages(
    rewards: Float[Tensor, "task pull"],
    values: Float[Tensor, "task pull"],
    trace: float = 1.0,
    discount: float = 1.0,
) -> Float[Tensor, "task pull"]:
    """How much better each pull turned out than the critic had foreseen.

    With δₜ = rₜ + γ Vₜ₊₁ − Vₜ, and V = 0 after the last pull, Aₜ = δₜ + γλ δₜ₊₁ + (γλ)² δₜ₊₂ + …
    (Schulman et al., 2015). λ = 1 is the whole reward to come less Vₜ: no bias, most noise. λ = 0
    believes the critic about everything after the next pull. γ = 1 counts every pull alike, which
    is what a game pays; below 1 what is far off counts less, a bias that long games need: the noise
    of a sum over a hundred pulls drowned what an arm is worth (measured: nothing was learned).

    Args:
        rewards: Of each pull.
        values: What the critic foresaw before each pull; taken as constants.
        trace: λ, from 0 to 1.
        discount: γ, from 0 to 1.

    Raises:
        ValueError: If shapes differ, or λ or γ is outside [0, 1].
    """
    if rewards.shape != values.shape or rewards.ndim != 2:
        raise ValueError(
            "expected rewards and values of the shape (task, pull); "
            f"got {tuple(rewards.shape)} and {tuple(values.shape)}."
        )
    for name, share in {"trace": trace, "discount": discount}.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must lie in [0, 1]; got {share}.")
    values = values.detach()
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    surprise = rewards + discount * after[:, : values.shape[1]] - values
    found = torch.zeros_like(values)
    running = values.new_zeros(len(values))
    for t in reversed(range(values.shape[1])):
        running = surprise[:, t] + discount * trace * running
        found[:, t] = running
    return found


def actor_critic_loss(
    judgement: Judgement,
    games: Games,
    *,
    trace: float = 1.0,
    discount: float = 1.0,
    value_weight: float = 0.5,
    entropy_bonus: float = 0.0,
) -> Float[Tensor, ""]:
    """What training lowers: its gradient is minus that of the expected reward, on average.

    Per game, −Σₜ Aₜ log π(aₜ) + c Σₜ (Vₜ − target)² − β Σₜ H(πₜ), then the mean over games. A is a
    constant here; the first term is REINFORCE (Williams, 1992) with the critic as its baseline,
    the second trains the critic towards Aₜ + Vₜ, the third keeps the policy from settling too soon
    (the three terms of Mnih et al., 2016).

    Args:
        judgement: What the network says of these games now, `policy(games.arms, games.rewards)`.
        games: As the same network played them.
        trace: See `advantages`.
        discount: See `advantages`.
        value_weight: c.
        entropy_bonus: β.

    Raises:
        ValueError: If the shapes do not fit.
    """
    logits, values = judgement
    advantage = advantages(games.rewards.to(values), values, trace, discount)
    log_p = logits.log_softmax(-1)
    if logits.shape[:2] != games.arms.shape:
        raise ValueError(
            f"expected logits of the shape (task, pull, arm) for {tuple(games.arms.shape)} pulls; "
            f"got {tuple(logits.shape)}."
        )
    chosen = log_p.gather(-1, games.arms[..., None])[..., 0]
    critic = (values - (advantage + values.detach())) ** 2
    entropy = -(log_p.exp() * log_p).sum(-1)
    per_pull = -advantage * chosen + value_weight * critic - entropy_bonus * entropy
    return per_pull.sum(1).mean()


def train_policy(
    policy: RecurrentPolicy,
    source: BanditSource,
    n_pulls: int,
    *,
    n_iterations: int,
    n_tasks: int,
    optimizer: Optimizer,
    scheduler: LRScheduler | None = None,
    trace: float = 1.0,
    discount: float = 1.0,
    value_weight: float = 0.5,
    entropy_bonus: float = 0.0,
    clip_grad_norm: float = 1.0,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Float[np.ndarray, "iteration"]:
    """Train a policy in place on fresh bandits, one game with each.

    Args:
        policy: Trained where its parameters lie.
        source: Where the bandits come from.
        n_pulls: Pulls a game.
        n_iterations: Optimizer steps.
        n_tasks: Games a step.
        optimizer: Of the policy's parameters.
        scheduler: Its schedule, stepped once an iteration.
        trace: See `advantages`.
        discount: See `advantages`.
        value_weight: See `actor_critic_loss`.
        entropy_bonus: β in the first iteration; it falls to 0 along a line, so that in the end the
            reward alone counts.
        clip_grad_norm: Largest norm of the whole gradient.
        generator: Draws bandits, arms and rewards. None: torch's global one.
        progress: Show a bar.

    Returns:
        The mean total reward of the games of each iteration.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If a count is too small, as of `n_pulls` below 1: there is nothing to learn from
            games without pulls; or if a reward or loss is not finite.
    """
    check_int("n_pulls", n_pulls, minimum=1)
    check_int("n_iterations", n_iterations, minimum=0)
    check_int("n_tasks", n_tasks, minimum=1)
    check_spread("entropy_bonus", entropy_bonus)
    device = policy.actor.weight.device
    earned = np.zeros(n_iterations)
    for i in tqdm(range(n_iterations), disable=not progress):
        bandits = source.sample(n_tasks, generator=generator, device=device)
        games = play(policy, bandits, n_pulls, generator=generator)
        loss = actor_critic_loss(
            policy(games.arms, games.rewards),
            games,
            trace=trace,
            discount=discount,
            value_weight=value_weight,
            entropy_bonus=entropy_bonus * (1 - i / n_iterations),
        )
        if not bool(loss.isfinite()):
            raise ValueError(f"the loss of iteration {i} is {loss.item()}; use a smaller rate.")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), clip_grad_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        earned[i] = float(games.total_reward.mean())
    return earned
