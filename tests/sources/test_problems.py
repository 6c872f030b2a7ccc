import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers
from sklearn.linear_model import LogisticRegression
from torch import nn

from mlcode.sources.problems import LogisticRegressions, Quadratics
from tests.helpers import SEEDS, distance, network, same, seeded

few = integers(1, 5)
double = {"dtype": torch.float64}


@given(seed=SEEDS, n_tasks=few, n_dims=few)
def test_a_quadratic_is_a_square_matrix_and_a_vector(seed, n_tasks, n_dims):
    tasks = Quadratics(n_dims).sample(n_tasks, generator=seeded(seed))
    assert tasks.support.x.shape == (n_tasks, n_dims, n_dims)
    assert tasks.support.y.shape == (n_tasks, n_dims, 1)
    assert same(tasks.query, tasks.support)


@given(seed=SEEDS, n_dims=few)
def test_the_linear_models_loss_is_the_papers_function_over_n_dims(seed, n_dims):
    w, y = Quadratics(n_dims, **double).sample(1, generator=seeded(seed)).select(0).support
    model = network(nn.Linear(n_dims, 1, bias=False), seed=seed)
    f = ((w @ model[0].weight[0] - y[:, 0]) ** 2).sum()
    assert distance(F.mse_loss(model(w), y), f / n_dims) < 1e-12


def test_a_quadratics_smallest_value_is_zero():
    support = Quadratics(6, **double).sample(20, generator=seeded(0)).support
    solution = torch.linalg.solve(support.x, support.y)
    assert torch.allclose(support.x @ solution, support.y, atol=1e-9)


def test_a_quadratics_entries_are_standard_normal():
    support = Quadratics(10, **double).sample(2000, generator=seeded(0)).support
    for entries in support:
        assert abs(float(entries.mean())) < 0.02
        assert float(entries.std()) == pytest.approx(1, rel=0.02)


@given(seed=SEEDS, n_tasks=few, n_dims=few, n_points=few)
def test_a_logistic_regression_has_points_and_two_labels(seed, n_tasks, n_dims, n_points):
    tasks = LogisticRegressions(n_dims, n_points).sample(n_tasks, generator=seeded(seed))
    assert tasks.support.x.shape == (n_tasks, n_points, n_dims)
    assert tasks.support.y.shape == (n_tasks, n_points)
    assert set(tasks.support.y.flatten().tolist()) <= {0, 1}
    assert same(tasks.query, tasks.support)


def test_the_labels_follow_a_plane_as_surely_as_the_sharpness_says():
    """scikit-learn finds the weights again: their length is the sharpness."""
    source = LogisticRegressions(3, 20_000, sharpness=3.0, **double)
    x, y = source.sample(1, generator=seeded(0)).select(0).support
    fitted = LogisticRegression(C=1e6, fit_intercept=False).fit(x.numpy(), y.numpy())
    assert float((fitted.coef_**2).sum() ** 0.5) == pytest.approx(3, rel=0.05)


def test_no_plane_gets_all_labels_right():
    tasks = LogisticRegressions(4, 60, **double).sample(10, generator=seeded(0))
    for x, y in zip(*tasks.support):
        fitted = LogisticRegression(C=1e6, fit_intercept=False).fit(x.numpy(), y.numpy())
        assert fitted.score(x.numpy(), y.numpy()) < 1


@pytest.mark.parametrize("source", [Quadratics, LogisticRegressions])
@given(seed=SEEDS)
def test_one_seed_gives_the_same_problems_in_every_dtype(source, seed):
    doubled = source(3, **double).sample(3, generator=seeded(seed))
    single = source(3, dtype=torch.float32).sample(3, generator=seeded(seed))
    assert same(single, doubled.to(dtype=torch.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Quadratics(0), "n_dims must be at least 1; got 0"),
        (lambda: Quadratics().sample(0), "n_tasks must be at least 1; got 0"),
        (lambda: LogisticRegressions(0), "n_dims must be at least 1; got 0"),
        (lambda: LogisticRegressions(n_points=0), "n_points must be at least 1; got 0"),
        (lambda: LogisticRegressions(sharpness=0.0), "sharpness must be positive and finite"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
