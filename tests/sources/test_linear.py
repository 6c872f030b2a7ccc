import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers

from mlcode import LinearFunctions
from tests.helpers import SEEDS, same, seeded

few = integers(1, 5)


@given(seed=SEEDS, n_tasks=few, n_features=few, n_shot=integers(0, 5), n_query=few)
def test_shapes_are_task_example_feature(seed, n_tasks, n_features, n_shot, n_query):
    source = LinearFunctions(n_features, n_shot, n_query)
    support, query = source.sample(n_tasks, generator=seeded(seed))
    assert support.x.shape == (n_tasks, n_shot, n_features)
    assert support.y.shape == (n_tasks, n_shot, 1)
    assert query.x.shape == (n_tasks, n_query, n_features)
    assert query.y.shape == (n_tasks, n_query, 1)


@given(seed=SEEDS, n_features=few)
def test_without_noise_least_squares_on_the_support_set_solves_the_queries(seed, n_features):
    source = LinearFunctions(n_features, n_shot=20, n_query=5, dtype=torch.float64)
    support, query = source.sample(4, generator=seeded(seed))
    w = torch.linalg.lstsq(support.x, support.y).solution
    assert torch.allclose(query.x @ w, query.y, rtol=0, atol=1e-10)


def test_noise_has_the_stated_standard_deviation_and_weights_and_inputs_have_one():
    source = LinearFunctions(2, n_shot=500, n_query=1, noise=0.3, dtype=torch.float64)
    support = source.sample(400, generator=seeded(0)).support
    w = torch.linalg.lstsq(support.x, support.y).solution
    residual = support.y - support.x @ w
    assert float(residual.std()) == pytest.approx(0.3, rel=0.02)
    assert float(support.x.std()) == pytest.approx(1, rel=0.02)
    assert float(w.std()) == pytest.approx(1, rel=0.1)
    assert abs(float(w.mean())) < 0.15


@given(seed=SEEDS)
def test_the_scales_stretch_inputs_and_weights_of_the_same_tasks(seed):
    plain, scaled = (
        LinearFunctions(2, dtype=torch.float64, **scales).sample(3, generator=seeded(seed)).support
        for scales in ({}, {"x_scale": 3.0, "w_scale": 0.5})
    )
    assert torch.allclose(scaled.x, 3.0 * plain.x, rtol=1e-12)
    assert torch.allclose(scaled.y, 1.5 * plain.y, rtol=1e-12)


@given(seed=SEEDS)
def test_one_seed_gives_the_same_tasks_in_every_dtype(seed):
    double = LinearFunctions(3, dtype=torch.float64).sample(3, generator=seeded(seed))
    single = LinearFunctions(3, dtype=torch.float32).sample(3, generator=seeded(seed))
    assert same(single, double.to(dtype=torch.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_features": 0}, "n_features must be at least 1; got 0"),
        ({"n_shot": -2}, "n_shot must be at least 0; got -2"),
        ({"n_query": 0}, "n_query must be at least 1; got 0"),
        ({"noise": -0.1}, "noise must be positive and finite; got -0.1"),
        ({"noise": float("nan")}, "noise must be positive and finite; got nan"),
        ({"x_scale": 0.0}, "x_scale must be positive and finite; got 0"),
        ({"w_scale": -1.0}, "w_scale must be positive and finite; got -1"),
    ],
)
def test_impossible_settings_are_refused_by_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        LinearFunctions(**arguments)


@pytest.mark.usefixtures("unchecked")
def test_settings_of_a_wrong_type_are_refused_by_type():
    with pytest.raises(TypeError, match=r"noise must be a number; got '0.1' \(str\)"):
        LinearFunctions(noise="0.1")
    with pytest.raises(TypeError, match=r"n_features must be an integer; got 1.5 \(float\)"):
        LinearFunctions(n_features=1.5)
    with pytest.raises(TypeError, match=r"n_tasks must be an integer; got '3' \(str\)"):
        LinearFunctions().sample("3")
