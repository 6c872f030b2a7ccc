"""Every recipe can be run: it builds what it says and takes a step on the real data."""

import dataclasses
import re

import pytest
import torch

from mlcode import MAML, ConvNet
from mlcode.recipes import RECIPES, Options, Recipe, baselines_omniglot, maml_omniglot
from mlcode.recipes import maml_sinusoid as waves
from mlcode.records import read_record
from tests.book.files import BOOK
from tests.helpers import same

ONE_STEP = Options(n_iterations=1, compiled=False)
MAML_RECIPES = [recipe.name for recipe in maml_omniglot.RECIPES]


def named_by(recipe: Recipe) -> tuple[int, int]:
    """Ways and shots, as the recipe's name has them."""
    ways, shots = re.search(r"-(\d+)w(\d+)s", recipe.name).groups()
    return int(ways), int(shots)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert all([recipe.title, recipe.protocol, recipe.time, recipe.settings])
    if recipe.target is not None:
        references = (BOOK / "appendix" / "references.md").read_text(encoding="utf-8")
        assert f"({recipe.target.key})=" in references
        author = recipe.target.source.split(",")[0].removesuffix(" et al.")
        assert recipe.target.key.startswith(author.lower())


@pytest.mark.parametrize("name", MAML_RECIPES)
def test_a_recipes_name_and_settings_agree(name):
    recipe = RECIPES[name]
    setting = maml_omniglot.MAMLOmniglot(**recipe.settings)
    assert (setting.n_way, setting.n_shot) == named_by(recipe)
    assert setting.first_order == name.startswith("fomaml")
    assert name.endswith("-short") == (setting.n_iterations < 60_000)
    assert name.endswith("-short") == any("iterations" in d for d in recipe.deviations)
    published = {(5, 1): (0.4, 1, 3, 32), (5, 5): (0.4, 1, 3, 32)}  # rate, steps, at test, tasks
    published |= {(20, 1): (0.1, 5, 5, 16), (20, 5): (0.1, 5, 5, 16)}
    steps = (setting.inner_lr, setting.n_inner_steps, setting.n_test_steps, setting.n_tasks)
    assert steps == published[named_by(recipe)]


@pytest.mark.usefixtures("omniglot_at_hand")
@pytest.mark.parametrize("name", MAML_RECIPES)
def test_maml_takes_a_step_on_omniglot_and_is_measured_by_every_protocol(name, tmp_path):
    recipe = RECIPES[name]
    setting = maml_omniglot.MAMLOmniglot(**recipe.settings)
    small = dataclasses.replace(setting, n_tasks=2, n_test_tasks=2)
    options = dataclasses.replace(ONE_STEP, checkpoint=tmp_path / "run.pt")
    learner = maml_omniglot.trained(small, options)
    assert (tmp_path / "run.pt").is_file()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = ConvNet(setting.n_way)
    assert not same(*(dict(net.named_parameters()) for net in (learner.model, untrained)))
    rows = maml_omniglot.results(small, learner, recipe.target)
    assert rows[0].target == recipe.target
    assert rows[0].protocol == recipe.protocol
    assert rows[1].target == dataclasses.replace(recipe.target, at_least=None)
    assert "turned" in rows[1].protocol
    assert [row.target for row in rows[2:]] == [None] * (len(rows) - 2)
    assert len({row.protocol for row in rows}) == len(rows)
    assert all(0 <= row.estimate.mean <= 1 for row in rows)


@pytest.mark.usefixtures("omniglot_at_hand")
def test_an_encoder_takes_a_step_on_all_of_omniglots_training_classes():
    setting = baselines_omniglot.Pretraining()
    encoder = baselines_omniglot.pretrained(setting, ONE_STEP)
    assert encoder.n_out is None
    assert all(block.norm.frozen for block in encoder.body)


@pytest.mark.parametrize("kind", waves.KINDS)
def test_each_network_of_the_sine_waves_takes_a_step(kind):
    learner, seconds = waves.trained(seed=0, options=ONE_STEP, **waves.KINDS[kind])
    assert isinstance(learner, MAML)
    assert seconds > 0


def test_each_network_of_the_sine_waves_is_saved_in_a_file_of_its_own(tmp_path):
    options = Options(checkpoint=tmp_path / "run.pt")
    files = {
        waves.of_one(options, label, seed).checkpoint
        for label in waves.KINDS
        for seed in waves.SEEDS
    }
    assert len(files) == 12
    assert all(re.fullmatch(r"run_\w+\.pt", file.name) for file in files)
    assert {file.parent for file in files} == {tmp_path}


def test_the_sine_waves_results_are_those_of_its_recorded_runs():
    result = read_record("maml_sinusoid")["result"]
    rows = [row.as_dict() for row in waves.results(result["runs"])]
    assert rows == result["results"]
    assert [row["target"]["value"] for row in rows] == [0.67] * 3 + [0.38] * 3 + [0.35] * 3
    (seed_1_after_5,) = [row for row in rows if row["protocol"] == "5 shots, 5 steps, seed 1"]
    at = result["steps"].index(5)
    (run,) = [r for r in result["runs"] if (r["trained"], r["seed"]) == ("MAML, 10 shots", 1)]
    assert run["mse"]["5 shots"][at]["mean"] == pytest.approx(
        [seed_1_after_5["mean"], seed_1_after_5["interval"]], abs=1e-6
    )
