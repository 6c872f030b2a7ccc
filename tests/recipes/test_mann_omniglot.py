"""The recipe of MANN takes a step on the real data, with and without memory."""

import dataclasses

import pytest

from mlcode.recipes import RECIPES, Options
from mlcode.recipes.mann_omniglot import SHORT, MANNOmniglot, learner_of, results, trained
from tests.helpers import same

RECIPE = RECIPES["mann-omniglot-short"]


@pytest.mark.usefixtures("omniglot_at_hand")
def test_both_learners_take_a_step_and_are_measured_by_presentation(tmp_path):
    setting = MANNOmniglot(**RECIPE.settings)
    small = dataclasses.replace(setting, n_tasks=2, n_test_tasks=2, n_presentations=6)
    options = Options(n_iterations=1, checkpoint=tmp_path / "run.pt")
    learners = {"MANN": trained(small, options), "LSTM": trained(small, options, memory=False)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.pt", "run_lstm.pt"]
    before = {n: p.detach().clone() for n, p in learners["MANN"].named_parameters()}
    rows = results(small, learners)
    assert same(before, dict(learners["MANN"].named_parameters())), "measuring trains nothing"
    assert len(rows) == 12
    assert [row.target.value for row in rows[:2]] == [0.828, 0.949]
    assert rows[0].protocol == RECIPE.protocol
    assert all(row.target is None for row in rows[2:])
    assert len({row.protocol for row in rows}) == len(rows)
    assert all(0 <= row.estimate.mean <= 1 for row in rows)


def test_the_lstm_is_the_controller_without_memory():
    mann, lstm = (learner_of(SHORT, memory=memory) for memory in (True, False))
    assert lstm.n_slots == 0
    assert mann.n_hidden == lstm.n_hidden
    assert mann.inputs.weight.shape == lstm.inputs.weight.shape
