"""The recipes on bandits take a step, play, and are held against the published figures."""

import numpy as np
import pytest

from mlcode import Estimate
from mlcode.model_based.bandit_policies import RandomArm
from mlcode.recipes import RECIPES, Options, Result, Target, bandits


@pytest.mark.parametrize("name", ["bandits-10x5", "bandits-100x5"])
def test_a_recipes_name_settings_and_target_agree(name):
    recipe = RECIPES[name]
    n_pulls, n_arms = (int(n) for n in name.removeprefix("bandits-").split("x"))
    assert (recipe.settings["n_pulls"], recipe.settings["n_arms"]) == (n_pulls, n_arms)
    assert recipe.target.value == bandits.PUBLISHED[n_pulls, n_arms][0]
    assert recipe.target.key == "mishra2018"


def test_the_short_game_is_trained_and_measured_beside_what_is_possible(monkeypatch):
    monkeypatch.setattr(bandits, "SETTINGS", bandits.SETTINGS | {"n_tasks": 4, "n_test_tasks": 50})
    monkeypatch.setattr(bandits.rewards, "__defaults__", (50,))
    rows, more = RECIPES["bandits-10x5"].run(Options(n_iterations=2))
    assert rows[0].protocol == RECIPES["bandits-10x5"].protocol
    assert [row.target.value for row in rows[:3]] == [6.7, 6.6, 5.0]
    assert [row.target for row in rows[3:]] == [None] * 3
    assert len({row.protocol for row in rows}) == len(rows)
    assert all(0 <= row.estimate.mean <= 10 and row.metric == "total reward" for row in rows)
    assert more == {"n_pulls": 10, "n_arms": 5, "bayes_optimal": 6.659988}


def test_the_long_game_has_no_exact_optimum():
    rows = bandits.rewards(RandomArm(), 100, 5, n_tasks=20)
    assert rows[0].target.value == 78.7
    assert 30 < rows[0].estimate.mean < 70 < rows[1].estimate.mean + 10


@pytest.mark.parametrize(("mean", "verdict"), [(7.0, "above by 0.30"), (6.0, "below by 0.70")])
def test_more_reward_is_better(mean, verdict):
    target = Target(6.7, 0.05, "a paper", "mishra2018", metric="total reward")
    found = Estimate.of(np.array([mean, mean]))
    assert Result("p", found, target, "total reward").verdict() == verdict
