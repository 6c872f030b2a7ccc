"""Games by hand, the Gittins index against a published table, and against what is possible."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers

from mlcode.model_based.bandit_games import play, total_reward
from mlcode.model_based.bandit_policies import UCB1, Greedy, RandomArm, Tally, Thompson
from mlcode.model_based.exact_bandits import BayesOptimal, exact_reward
from mlcode.model_based.gittins import GittinsPolicy, gittins_table
from mlcode.sources.bandits import Bandits, BernoulliBandits
from tests.helpers import SEEDS, seeded

POLICIES = [RandomArm, Greedy, Thompson, UCB1, GittinsPolicy, BayesOptimal]
FIXED = [RandomArm, Greedy, UCB1, GittinsPolicy, BayesOptimal]  # whose indices are not drawn


def tally(wins, losses, n_left=5):
    return Tally(torch.tensor([wins]).double(), torch.tensor([losses]).double(), n_left)


def one_bandit(*p):
    return Bandits(torch.tensor([p], dtype=torch.float64))


def test_the_indices_of_three_arms_by_hand():
    """One win of one pull, one of two, none of one: four pulls in all."""
    seen = tally([1, 1, 0], [0, 1, 1])
    assert Greedy().index(seen, None)[0].tolist() == pytest.approx([2 / 3, 1 / 2, 1 / 3])
    bonus = 2 * math.log(4)
    expected = [1 + math.sqrt(bonus), 0.5 + math.sqrt(bonus / 2), math.sqrt(bonus)]
    assert UCB1().index(seen, None)[0].tolist() == pytest.approx(expected)
    assert Greedy(prior=(3.0, 1.0)).index(seen, None)[0, 1].item() == pytest.approx(4 / 6)
    drawn = Thompson().index(tally([900] * 3, [100] * 3), seeded(0))
    assert float((drawn - 0.9).abs().max()) < 0.05


def test_ucb1_pulls_every_arm_once_first():
    games = play(UCB1(), BernoulliBandits(5).sample(50, generator=seeded(0)), 5)
    assert bool((games.arms.sort(1).values == torch.arange(5)).all())


def test_a_greedy_game_by_hand():
    """A sure arm and a dead one: the first win ends the search, and a loss moves on."""
    games = play(Greedy(), one_bandit(0.0, 1.0), 6, generator=seeded(0))
    first = games.arms[0].tolist().index(1)
    assert first in (0, 1)
    assert games.arms[0, first:].tolist() == [1] * (6 - first)
    assert games.total_reward.tolist() == [6 - first]


@pytest.mark.parametrize("policy", POLICIES)
def test_ties_are_broken_evenly(policy):
    bandits = BernoulliBandits(4).sample(4000, generator=seeded(0))
    first = play(policy(), bandits, 1, generator=seeded(1)).arms[:, 0]
    assert (torch.bincount(first, minlength=4) / 4000).tolist() == pytest.approx(
        [0.25] * 4, abs=0.03
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_games_begin_anew_and_draw_from_the_generator_alone(policy):
    bandits = BernoulliBandits(3).sample(20, generator=seeded(0))
    player = policy()
    torch.manual_seed(0)
    first = play(player, bandits, 6, generator=seeded(5))
    torch.manual_seed(1)
    again = play(player, bandits, 6, generator=seeded(5))
    assert torch.equal(first.arms, again.arms)
    assert torch.equal(first.rewards, again.rewards)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_pulls_and_one_arm(policy):
    bandits = BernoulliBandits(1).sample(3, generator=seeded(0))
    nothing = play(policy(), bandits, 0)
    assert nothing.arms.shape == (3, 0)
    assert nothing.total_reward.tolist() == [0, 0, 0]
    games = play(policy(), bandits, 4)
    assert games.arms.tolist() == [[0] * 4] * 3
    assert bandits.regret(games.arms).sum() == 0
    with pytest.raises(ValueError, match="n_pulls must be at least 0; got -1"):
        play(policy(), bandits, -1)


@pytest.mark.parametrize(
    ("wins", "losses", "index"), [(0, 0, 0.7029), (1, 1, 0.6346), (2, 2, 0.6010), (9, 1, 0.8695)]
)
def test_the_discounted_index_is_that_of_a_published_table(wins, losses, index):
    """Four entries for γ = 0.9 that Christian and Griffiths (2016, chapter 2) quote."""
    alone = gittins_table(64, discount=0.9, prior=(1.0 + wins, 1.0 + losses), n_rates=201)
    assert float(alone[64, 0, 0]) == pytest.approx(index, abs=3e-4)


@given(a=integers(1, 9), b=integers(1, 9))
def test_the_index_with_one_or_two_pulls_left_by_hand(a, b):
    """One pull: p. Two: trying costs λ − p now and gains p₊ − λ with probability p."""
    table = gittins_table(2, prior=(float(a), float(b)))
    p, after_win = a / (a + b), (a + 1) / (a + b + 1)
    assert float(table[1, 0, 0]) == pytest.approx(p, abs=1e-9)
    assert float(table[1, 1, 0]) == pytest.approx(after_win, abs=1e-9)
    assert float(table[2, 0, 0]) == pytest.approx(p * (1 + after_win) / (1 + p), abs=1e-4)


def test_the_index_is_filled_where_a_game_can_come_and_exceeds_the_mean_there():
    n = 7
    table = gittins_table(n)
    left, wins, losses = torch.meshgrid(*[torch.arange(n + 1)] * 3, indexing="ij")
    reachable = (left >= 1) & (left + wins + losses <= n)
    assert torch.equal(~table.isnan(), reachable)
    mean = (1 + wins.double()) / (2 + wins + losses)
    assert bool((table[reachable] > mean[reachable] - 1e-9).all())
    assert bool((table[2:, 0, 0] > table[1:-1, 0, 0]).all())  # the longer the game, the dearer news


@pytest.mark.parametrize("prior", [(1.0, 1.0), (2.0, 1.0)])
def test_the_value_of_two_pulls_of_two_arms_by_hand(prior):
    """Win (p): stay and win with p₊. Lose: try the other, which wins with p."""
    p = prior[0] / sum(prior)
    after_win = (prior[0] + 1) / (sum(prior) + 1)
    expected = p * (1 + after_win) + (1 - p) * p
    assert BayesOptimal(prior).value(2, 2) == pytest.approx(expected, abs=1e-15)
    assert BayesOptimal(prior).value(2, 0) == 0
    assert BayesOptimal(prior).value(1, 9) == pytest.approx(9 * p)


def test_the_optimal_value_is_the_best_of_all_policies_written_out():
    """Two arms, three pulls, by brute force over every deterministic policy of four tallies."""

    def best(arms, left):
        if left == 0:
            return 0.0
        found = []
        for i, (a, b) in enumerate(arms):
            p = a / (a + b)
            won = [(x + (j == i), y) for j, (x, y) in enumerate(arms)]
            lost = [(x, y + (j == i)) for j, (x, y) in enumerate(arms)]
            found.append(p * (1 + best(won, left - 1)) + (1 - p) * best(lost, left - 1))
        return max(found)

    for n_arms, n_pulls in ((2, 3), (2, 5), (3, 4)):
        expected = best([(1, 1)] * n_arms, n_pulls)
        assert BayesOptimal().value(n_arms, n_pulls) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(("n_arms", "n_pulls"), [(2, 1), (2, 6), (3, 5), (5, 6)])
def test_no_policy_beats_the_optimal_one_which_earns_its_value(n_arms, n_pulls):
    value = BayesOptimal().value(n_arms, n_pulls)
    rewards = {policy: exact_reward(policy(), n_arms, n_pulls) for policy in FIXED}
    assert rewards[BayesOptimal] == pytest.approx(value, abs=1e-12)
    assert rewards[RandomArm] == pytest.approx(n_pulls / 2, abs=1e-12)
    assert max(rewards.values()) <= value + 1e-12
    assert value - rewards[GittinsPolicy] < 1e-3


def test_the_index_of_a_finite_game_is_nearly_but_not_always_optimal():
    """Two arms, ten pulls: the dynamic program finds a little that the index does not."""
    short = BayesOptimal().value(2, 10) - exact_reward(GittinsPolicy(), 2, 10)
    assert 1e-5 < short < 1e-3


@pytest.mark.parametrize("policy", FIXED)
def test_games_earn_what_the_exact_expectation_says(policy):
    expected = exact_reward(policy(), 3, 6)
    played = total_reward(policy(), BernoulliBandits(3), 6, 1000)
    assert abs(played.mean - expected) < 1.6 * played.interval


def test_a_policy_that_believes_in_another_prior_earns_less():
    prior = (1.0, 4.0)
    right = exact_reward(BayesOptimal(prior), 3, 6, prior=prior)
    wrong = exact_reward(BayesOptimal((4.0, 1.0)), 3, 6, prior=prior)
    assert wrong < right - 1e-3


@given(seed=SEEDS)
def test_thompson_pulls_an_arm_as_often_as_it_is_likely_to_be_the_best(seed):
    """Beta(2, 1) exceeds an independent Beta(1, 2) with probability 5/6."""
    seen = Tally(
        torch.tensor([[1.0, 0.0]]).double().expand(3000, 2),
        torch.tensor([[0.0, 1.0]]).double().expand(3000, 2),
        3,
    )
    share = (Thompson().choose(seen, seeded(seed)) == 0).double().mean()
    assert float(share) == pytest.approx(5 / 6, abs=0.035)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gittins_table(0), ValueError, "n_pulls must be at least 1; got 0"),
        (lambda: gittins_table(3, n_rates=1), ValueError, "n_rates must be at least 2"),
        (lambda: gittins_table(3, discount=0.0), ValueError, "above 0 and at most 1; got 0.0"),
        (lambda: gittins_table(3, discount=1.1), ValueError, "above 0 and at most 1; got 1.1"),
        (lambda: gittins_table(3, prior=(0.0, 1.0)), ValueError, "a of the prior"),
        (lambda: Greedy(prior=(1.0, 0.0)), ValueError, "b of the prior"),
        (lambda: BayesOptimal().value(5, 100), ValueError, "Use fewer pulls or arms, or Gittins"),
        (lambda: BayesOptimal().value(0, 3), ValueError, "n_arms must be at least 1"),
        (lambda: exact_reward(Greedy(), 5, 100), ValueError, "Use fewer pulls or arms"),
        (lambda: total_reward(Greedy(), BernoulliBandits(2), 3, 1), ValueError, "at least 2"),
    ],
)
def test_impossible_settings_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
