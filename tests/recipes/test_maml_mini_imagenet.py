"""The miniImageNet recipes on a small folder in the published form."""

import dataclasses

import pytest

from mlcode.recipes import RECIPES, Options
from mlcode.recipes.maml_mini_imagenet import MAMLMiniImageNet, run

NAMES = ("maml-miniimagenet-5w1s", "maml-miniimagenet-5w5s")


@pytest.mark.slow
@pytest.mark.usefixtures("photographs")
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_takes_a_step_on_photographs_and_is_measured(name):
    recipe = RECIPES[name]
    small = dataclasses.replace(
        MAMLMiniImageNet(**recipe.settings), n_test_tasks=2, n_tasks=1, n_inner_steps=1
    )
    options = Options(n_iterations=1, compiled=False)
    (result,) = run(small, options, recipe.target)
    assert 0 <= result.estimate.mean <= 1
    assert result.target == recipe.target
    assert result.protocol == recipe.protocol


@pytest.mark.parametrize("name", NAMES)
def test_without_the_data_it_says_how_to_get_it_and_names_glyphs(name, monkeypatch):
    monkeypatch.delenv("MLCODE_DATA", raising=False)
    with pytest.raises(ValueError, match=r"image-net\.org.*Glyphs"):
        RECIPES[name].run(Options())


def test_the_settings_are_the_papers():
    one, five = (MAMLMiniImageNet(**RECIPES[name].settings) for name in NAMES)
    assert (one.n_shot, one.n_tasks, five.n_shot, five.n_tasks) == (1, 4, 5, 2)
    for setting in (one, five):
        assert (setting.n_inner_steps, setting.n_test_steps, setting.n_query) == (5, 10, 15)
        assert setting.clip_grad_value == 10
        assert setting.inner_lr == pytest.approx(0.01 * setting.n_way)
