"""Each learner on sine waves takes a step and is measured; what is possible stands beside it."""

import pytest

from mlcode.recipes import RECIPES, Options
from mlcode.recipes import sinusoid_learners as waves

ONE_STEP = Options(n_iterations=1, compiled=False)


@pytest.mark.parametrize("name", waves.LEARNERS)
def test_a_learner_takes_a_step_and_is_measured_with_each_number_of_shots(name, tmp_path):
    options = waves.of_one(
        Options(n_iterations=1, compiled=False, checkpoint=tmp_path / "r.pt"), name
    )
    learner = waves.trained(name, options)
    assert options.checkpoint.is_file()
    rows = waves.errors(name, learner, n_tasks=4)
    assert len(rows) == len(waves.SHOTS) * len(waves.STEPS)
    assert len({row.protocol for row in rows}) == len(rows)
    held = [row.target.value for row in rows if row.target]
    assert held == ([0.67, 0.35] if name == "MAML" else [])


def test_each_is_saved_in_a_file_of_its_own(tmp_path):
    options = Options(checkpoint=tmp_path / "run.pt")
    files = {waves.of_one(options, name).checkpoint for name in waves.LEARNERS}
    assert len(files) == len(waves.LEARNERS)


def test_the_least_error_falls_to_nothing_with_two_points():
    rows = waves.possible(n_tasks=40)
    means = [row.estimate.mean for row in rows]
    assert means[0] > means[1] > 0.1 > means[2]
    assert max(means[3:]) < 0.01
    assert rows[1].protocol == "Bayes-optimal, 1 shot"


def test_it_is_a_recipe():
    assert RECIPES["sinusoid-learners"].run is waves.run
