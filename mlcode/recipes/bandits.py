"""Bandits: a recurrent policy beside index policies, and beside what is possible.

The settings of Mishra et al. (2018, table 3): arms pay 1 with a probability that is uniform on
[0, 1], and the figure is the reward of a game. Their recurrent policy is an LSTM; this one is a
small GRU, trained by advantage actor-critic.
"""

import math
from functools import partial
from typing import Any

import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LinearLR

from mlcode.model_based.actor_critic import train_policy
from mlcode.model_based.bandit_games import Policy, total_reward
from mlcode.model_based.bandit_policies import UCB1, Greedy, RandomArm, Thompson
from mlcode.model_based.exact_bandits import MOST_STATES, BayesOptimal
from mlcode.model_based.gittins import GittinsPolicy
from mlcode.model_based.recurrent_policy import RecurrentPolicy
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.sources.bandits import BernoulliBandits

METRIC = "total reward"
PROTOCOL = "recurrent policy"
SOURCE = ("Mishra et al., 2018, table 3", "mishra2018")
PUBLISHED = {  # (pulls, arms): LSTM, Gittins index, random; printed with one decimal
    (10, 5): (6.7, 6.6, 5.0),
    (100, 5): (78.7, 78.3, 49.9),
}
ROUNDING = 0.05
SETTINGS: dict[str, Any] = {
    "policy": "GRU with 48 units, reading the last arm one-hot and the last reward",
    "n_tasks": 256,
    "optimizer": "Adam, 0.01 falling to 0.0005 along a line; gradient norm at most 1",
    "loss": "actor-critic: trace 0.8, value weight 0.05, entropy bonus 0.05 falling to 0",
    "n_test_tasks": 100_000,
}


def trained(
    n_pulls: int, n_arms: int, n_iterations: int, discount: float, options: Options
) -> RecurrentPolicy:
    """The recurrent policy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # for the first weights; restored on leaving
        policy = RecurrentPolicy(n_arms).to(options.device)
    optimizer = Adam(policy.parameters(), 0.01)
    train_policy(
        policy,
        BernoulliBandits(n_arms),
        n_pulls,
        n_iterations=n_iterations,
        n_tasks=SETTINGS["n_tasks"],
        optimizer=optimizer,
        scheduler=LinearLR(optimizer, 1, 0.05, n_iterations),
        trace=0.8,
        discount=discount,
        value_weight=0.05,
        entropy_bonus=0.05,
        generator=torch.Generator().manual_seed(options.seed),
        progress=bool(options.progress),
    )
    return policy.cpu()


def rewards(
    policy: Policy, n_pulls: int, n_arms: int, n_tasks: int = SETTINGS["n_test_tasks"]
) -> list[Result]:
    """What the policy earns, and what others earn on the same bandits."""
    lstm, gittins, random = (
        Target(value, ROUNDING, *SOURCE, metric=METRIC) for value in PUBLISHED[n_pulls, n_arms]
    )
    players: dict[str, tuple[Policy, Target | None]] = {
        PROTOCOL: (policy, lstm),
        "Gittins index for a game of this length": (GittinsPolicy(n_rates=101), gittins),
        "random": (RandomArm(), random),
        "greedy": (Greedy(), None),
        "Thompson sampling": (Thompson(), None),
        "UCB1": (UCB1(), None),
    }
    source = BernoulliBandits(n_arms)
    return [
        Result(name, total_reward(player, source, n_pulls, n_tasks), target, METRIC)
        for name, (player, target) in players.items()
    ]


def run(
    options: Options, *, n_pulls: int, n_arms: int, n_iterations: int, discount: float
) -> tuple[list[Result], dict[str, Any]]:
    """Train and measure; where it can be computed, the most that any policy can earn too."""
    policy = trained(n_pulls, n_arms, options.n_iterations or n_iterations, discount, options)
    found = rewards(policy, n_pulls, n_arms)
    few = math.comb(n_pulls + 2 * n_arms, n_pulls) // math.factorial(n_arms) <= MOST_STATES
    more = {"bayes_optimal": round(BayesOptimal().value(n_arms, n_pulls), 6)} if few else {}
    return found, {"n_pulls": n_pulls, "n_arms": n_arms, **more}


def _recipe(
    n_pulls: int, n_arms: int, n_iterations: int, time: str, discount: float = 1.0
) -> Recipe:
    game = {"n_pulls": n_pulls, "n_arms": n_arms, "n_iterations": n_iterations}
    short_sighted = (f"rewards to come discounted by {discount} a pull in training",)
    return Recipe(
        f"bandits-{n_pulls}x{n_arms}",
        f"Bandits, {n_pulls} pulls of {n_arms} arms: a recurrent policy and index policies",
        PROTOCOL,
        time,
        SETTINGS | game | {"discount": discount},
        partial(run, n_pulls=n_pulls, n_arms=n_arms, n_iterations=n_iterations, discount=discount),
        target=Target(PUBLISHED[n_pulls, n_arms][0], ROUNDING, *SOURCE, metric=METRIC),
        deviations=(
            "a GRU of 48 units in the place of their LSTM, trained by actor-critic",
            "figures were published with one decimal, taken as ± 0.05",
            *(short_sighted if discount < 1 else ()),
        ),
    )


RECIPES = (
    _recipe(10, 5, 8000, "two minutes on one core"),
    _recipe(100, 5, 3000, "a quarter of an hour on one core", discount=0.9),
)
