"""Each metric-based recipe takes a step on Omniglot and is measured by every protocol."""

import dataclasses
import re

import pytest
import torch

from mlcode.recipes import RECIPES, Options, metric_omniglot
from mlcode.recipes.metric_training import SHAPES, MetricOmniglot, results, schedule, trained
from tests.helpers import same

NAMES = [recipe.name for recipe in metric_omniglot.RECIPES]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipes_name_and_settings_agree(name):
    recipe = RECIPES[name]
    setting = MetricOmniglot(**recipe.settings)
    if name.endswith("-short"):
        assert setting.shapes == SHAPES
        assert setting.n_iterations < 20_000
        said = f"{setting.n_iterations:,} "
        assert any(deviation.startswith(said) for deviation in recipe.deviations)
    else:
        ways, shots = map(int, re.search(r"-(\d+)w(\d+)s", name).groups())
        assert setting.shapes == ((ways, shots),)
        assert (setting.n_way, setting.n_shot, setting.n_query) == (60, shots, 5)
        assert (setting.halve_every, setting.n_iterations) == (2000, 20_000)
    assert {"protonet": "prototypical"}.get(name.split("-")[0], name.split("-")[0]) == (
        setting.learner
    )


@pytest.mark.usefixtures("omniglot_at_hand")
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("w5s")])
def test_it_takes_a_step_and_is_measured_as_it_says(name, tmp_path):
    recipe = RECIPES[name]
    setting = dataclasses.replace(
        MetricOmniglot(**recipe.settings), n_way=5, n_query=1, n_test_tasks=2, n_reference=50
    )
    options = Options(n_iterations=1, compiled=False, checkpoint=tmp_path / "run.pt")
    learner = trained(setting, options)
    assert (tmp_path / "run.pt").is_file()
    before = {n: p.detach().clone() for n, p in learner.named_parameters()}
    targets = dict.fromkeys(setting.shapes, recipe.target)
    rows = results(setting, learner, targets)
    assert len(rows) == len(setting.shapes) + 2
    assert rows[0].target == recipe.target
    assert rows[0].protocol == recipe.protocol
    turned = rows[len(setting.shapes)]
    assert "turned" in turned.protocol
    assert turned.target == dataclasses.replace(recipe.target, at_least=None)
    assert rows[-1].target is None
    assert len({row.protocol for row in rows}) == len(rows)
    assert all(0 <= row.estimate.mean <= 1 for row in rows)
    assert same(before, dict(learner.named_parameters())), "measuring trains nothing"


def test_the_rate_is_halved_or_falls_to_nothing():
    rates = {}
    for halve_every in (2, None):
        optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler = schedule(MetricOmniglot(halve_every=halve_every), optimizer, 4)
        rates[halve_every] = []
        for _ in range(4):
            rates[halve_every].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        rates[halve_every].append(optimizer.param_groups[0]["lr"])
    assert rates[2] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert rates[None][0] == 1.0
    assert rates[None][2] == pytest.approx(0.5)
    assert rates[None][4] == pytest.approx(0.0)
