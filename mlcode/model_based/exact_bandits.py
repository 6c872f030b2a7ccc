"""What is possible with a bandit: the Bayes-optimal policy and exact expectations, where few."""

import math
from collections import defaultdict

import torch
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_int
from mlcode.model_based.bandit_policies import BayesianPolicy, IndexPolicy, Tally
from mlcode.sources.bandits import Bandits, BernoulliBandits, Prior, check_prior

Arms = tuple[tuple[int, int], ...]  # wins and losses of each arm
MOST_STATES = 200_000


class BayesOptimal(BayesianPolicy):
    """No policy earns more on average: it looks ahead through all that can still happen.

    The worth of an arm is the probability p that it pays, plus what can be earned afterwards:
    Q = p (1 + V after a win) + (1 − p) V after a loss, where V is the largest Q of any arm. What
    has been seen is a tally of wins and losses, and arms with the same prior can change places, so
    each tally is looked at once, with its arms in order.

    Args:
        prior: See `BayesianPolicy`.

    Raises:
        TypeError: If the prior is not two numbers.
        ValueError: If one is not positive; where a game begins, if it has too many tallies.
    """

    def __init__(self, prior: Prior = (1.0, 1.0)) -> None:
        super().__init__(prior)
        self._known: dict[tuple[Arms, int], float] = {}

    def begin(self, bandits: Bandits, n_pulls: int) -> Tally:
        """Nothing won, nothing lost."""
        _check_size(bandits.n_arms, n_pulls)
        return super().begin(bandits, n_pulls)

    def index(self, tally: Tally, generator: torch.Generator | None) -> Float[Tensor, "task arm"]:
        """Q of each arm: the reward to expect from pulling it and playing on as well as can be."""
        worth = [
            [self._pulled(arms, i, tally.n_left) for i in range(len(arms))]
            for arms in _states(tally)
        ]
        return torch.tensor(worth, dtype=torch.float64, device=tally.wins.device)

    def value(self, n_arms: int, n_pulls: int) -> float:
        """The expected total reward of a game: no policy's is larger.

        Raises:
            TypeError: If a count is not an integer.
            ValueError: If there is no arm, `n_pulls` is negative or there are too many tallies.
        """
        check_int("n_arms", n_arms, minimum=1)
        check_int("n_pulls", n_pulls, minimum=0)
        _check_size(n_arms, n_pulls)
        return self._value(((0, 0),) * n_arms, n_pulls)

    def _value(self, arms: Arms, n_left: int) -> float:
        if n_left == 0:
            return 0.0
        key = (tuple(sorted(arms)), n_left)
        if key not in self._known:
            kinds = {arm: i for i, arm in enumerate(key[0])}
            self._known[key] = max(self._pulled(key[0], i, n_left) for i in kinds.values())
        return self._known[key]

    def _pulled(self, arms: Arms, i: int, n_left: int) -> float:
        won, lost, p = _outcomes(arms, i, self.prior)
        after_win, after_loss = self._value(won, n_left - 1), self._value(lost, n_left - 1)
        return p * (1 + after_win) + (1 - p) * after_loss


def exact_reward(
    policy: IndexPolicy, n_arms: int, n_pulls: int, *, prior: Prior = (1.0, 1.0)
) -> float:
    """The expected total reward of an index policy, without any game being played.

    All tallies that can come up are followed with their probabilities, pull by pull; ties are
    broken evenly, as `choose` breaks them.

    Args:
        policy: Treats all arms alike, and its indices depend on the tally alone. Not
            `mlcode.model_based.bandit_policies.Thompson`, whose indices are drawn.
        n_arms: Arms of the bandit.
        n_pulls: Pulls a game.
        prior: From which the bandits come, whatever the policy believes.

    Raises:
        TypeError: If a count is not an integer or the prior not two numbers.
        ValueError: If there is no arm, `n_pulls` is negative or there are too many tallies.
    """
    check_int("n_pulls", n_pulls, minimum=0)
    check_prior(prior)
    source = BernoulliBandits(n_arms)
    _check_size(n_arms, n_pulls)
    policy.begin(source.sample(1, generator=torch.Generator()), n_pulls)  # it may prepare itself
    chances: dict[Arms, float] = {((0, 0),) * n_arms: 1.0}
    reward = 0.0
    for n_left in range(n_pulls, 0, -1):
        index = policy.index(_tally(list(chances), n_left), None)
        best = (index == index.max(1, keepdim=True).values).double()
        shares = (best / best.sum(1, keepdim=True)).tolist()
        after: dict[Arms, float] = defaultdict(float)
        for (arms, chance), row in zip(chances.items(), shares):
            for i, share in enumerate(row):
                if share > 0:
                    won, lost, p = _outcomes(arms, i, prior)
                    reward += chance * share * p
                    after[tuple(sorted(won))] += chance * share * p
                    after[tuple(sorted(lost))] += chance * share * (1 - p)
        chances = after
    return reward


def _outcomes(arms: Arms, i: int, prior: Prior) -> tuple[Arms, Arms, float]:
    """The tallies after a win and after a loss of arm i, and the probability of the win."""
    wins, losses = arms[i]
    p = (prior[0] + wins) / (prior[0] + prior[1] + wins + losses)
    before, behind = arms[:i], arms[i + 1 :]
    return (*before, (wins + 1, losses), *behind), (*before, (wins, losses + 1), *behind), p


def _states(tally: Tally) -> list[Arms]:
    pairs = torch.stack([tally.wins, tally.losses], -1).long().tolist()
    return [tuple((wins, losses) for wins, losses in arms) for arms in pairs]


def _tally(states: list[Arms], n_left: int) -> Tally:
    wins, losses = torch.tensor(states, dtype=torch.float64).unbind(-1)
    return Tally(wins, losses, n_left)


def _check_size(n_arms: int, n_pulls: int) -> None:
    states = math.comb(n_pulls + 2 * n_arms, n_pulls) // math.factorial(n_arms)
    if states > MOST_STATES:
        raise ValueError(
            f"{n_pulls} pulls of {n_arms} arms have at least {states:,} tallies, more than the "
            f"{MOST_STATES:,} that are looked at one by one. Use fewer pulls or arms, or "
            "GittinsPolicy."
        )
