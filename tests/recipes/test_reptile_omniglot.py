"""The Reptile recipes take a step on the real data and are measured by both protocols."""

import dataclasses

import pytest

from mlcode import ConvNet
from mlcode.recipes import RECIPES, Options
from mlcode.recipes.reptile_omniglot import ReptileOmniglot, learner_of, results, trained
from tests.helpers import same

NAMES = ("reptile-omniglot-5w1s-short", "reptile-omniglot-5w1s")


def weights(learner):
    return dict(learner.named_parameters())


@pytest.mark.slow
@pytest.mark.usefixtures("omniglot_at_hand")
def test_reptile_takes_a_step_on_omniglot_and_is_measured_by_both_protocols():
    recipe = RECIPES[NAMES[0]]
    setting = ReptileOmniglot(**recipe.settings)
    small = dataclasses.replace(setting, n_tasks=2, n_test_tasks=2, n_test_steps=1)
    options = Options(n_iterations=1, compiled=False)
    learner = trained(small, options)
    assert same(weights(learner), weights(trained(small, options)))
    other = trained(small, dataclasses.replace(options, seed=1))
    assert not same(weights(learner), weights(other))
    rows = results(small, learner, recipe.target)
    assert [row.target.value for row in rows] == [0.9768, 0.9539]
    assert rows[0].protocol == recipe.protocol
    assert all(0 <= row.estimate.mean <= 1 for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_are_those_of_the_published_command(name):
    setting = ReptileOmniglot(**RECIPES[name].settings)
    assert (setting.train_shots, setting.batch_size, setting.n_inner_steps) == (15, 25, 3)
    assert (setting.n_tasks, setting.meta_lr, setting.n_test_steps) == (10, 1, 5)
    assert name.endswith("-short") == (setting.n_iterations < 100_000)
    assert name.endswith("-short") == any("iterations" in d for d in RECIPES[name].deviations)
    rule = learner_of(setting, ConvNet(5, n_filters=2)).rule
    assert (rule.lr, rule.betas) == (0.001, (0.0, 0.999))
