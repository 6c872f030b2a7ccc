"""Published experiments, run in full; each writes a record that the book's tables are made from."""

from mlcode.recipes import (
    bandits,
    baselines_omniglot,
    comparison_glyphs,
    comparison_sinusoids,
    maml_mini_imagenet,
    maml_omniglot,
    maml_sinusoid,
    mann_omniglot,
    metric_omniglot,
    reptile_omniglot,
    sinusoid_learners,
)
from mlcode.recipes.recipe import Options, Recipe, Result, Target
from mlcode.recipes.reproduction import reproduce

RECIPES = {
    recipe.name: recipe
    for module in (
        maml_sinusoid,
        sinusoid_learners,
        maml_omniglot,
        reptile_omniglot,
        maml_mini_imagenet,
        metric_omniglot,
        mann_omniglot,
        baselines_omniglot,
        bandits,
        comparison_glyphs,
        comparison_sinusoids,
    )
    for recipe in module.RECIPES
}

__all__ = ["RECIPES", "Options", "Recipe", "Result", "Target", "reproduce"]
