"""The Bayes-optimal prediction for sinusoids against integrals done otherwise."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from mlcode import Examples, Sinusoids, evaluate
from mlcode.bayes import BayesSinusoids
from mlcode.learner import MetaLearner
from tests.helpers import distance, seeded


def test_without_examples_it_predicts_the_mean_wave():
    learner = BayesSinusoids(Sinusoids())
    x = torch.linspace(-5, 5, 7, dtype=torch.float64)[:, None]
    empty = Examples(x[:0], x[:0])
    # E[A] = 2.55; the mean of sin(x − φ) over φ in [0, π] is −2 cos(x)/π.
    assert distance(learner.predict(empty, x), -2.55 * 2 / math.pi * x.cos()) < 1e-4


@pytest.mark.parametrize("n_shot", [1, 2, 3])
def test_its_posterior_mean_is_the_quotient_of_two_integrals(n_shot):
    source = Sinusoids(n_shot=n_shot, n_query=3, noise=0.5, dtype=torch.float64)
    support, query = source.sample(1, generator=seeded(n_shot)).select(0)
    xs, ys = support.x.flatten().numpy(), support.y.flatten().numpy()

    def integral(of):
        def integrand(a, phi):
            misfit = ((ys - a * np.sin(xs - phi)) ** 2).sum()
            return of(a, phi) * math.exp(-misfit / (2 * source.noise**2))

        return integrate.dblquad(integrand, *source.phase, *source.amplitude, epsabs=1e-10)[0]

    x = query.x[0].item()
    expected = integral(lambda a, phi: a * math.sin(x - phi)) / integral(lambda a, phi: 1.0)
    found = BayesSinusoids(source, 800, 1600).predict(support, query.x)[0].item()
    assert found == pytest.approx(expected, abs=1e-4)


def test_two_exact_points_settle_the_wave_but_for_the_width_of_a_cell():
    source = Sinusoids(n_shot=5, n_query=50)
    learner = BayesSinusoids(source)
    assert evaluate(learner, source, 300).mean < 2 * learner.noise**2
    fine = BayesSinusoids(source, 800, 1600)
    assert evaluate(fine, source, 100).mean < evaluate(learner, source, 100).mean / 4


class Perturbed(MetaLearner):
    """The optimal predictions, each scaled or shifted."""

    def __init__(self, best, scale, shift):
        super().__init__(loss_fn=best.loss_fn)
        self.best, self.scale, self.shift = best, scale, shift

    def predict(self, support, query_x):
        return self.scale * self.best.predict(support, query_x) + self.shift


@pytest.mark.parametrize(("scale", "shift"), [(0.9, 0.0), (1.1, 0.0), (1.0, 0.3), (1.0, -0.3)])
def test_no_change_of_its_predictions_lowers_the_error(scale, shift):
    source = Sinusoids(n_shot=1, n_query=50)
    best = BayesSinusoids(source)
    changed = evaluate(Perturbed(best, scale, shift), source, 1000).values
    assert (changed - evaluate(best, source, 1000).values).mean() > 0


def test_more_points_leave_less_to_be_known():
    errors = []
    for n_shot in (0, 1, 2, 5, 10):
        source = Sinusoids(n_shot=n_shot, n_query=50, noise=0.5)
        errors.append(evaluate(BayesSinusoids(source), source, 400).mean)
    assert errors == sorted(errors, reverse=True)
    # With many points the error is that of least squares with two coefficients: 2 σ²/K.
    source = Sinusoids(n_shot=100, n_query=50, noise=0.5)
    assert evaluate(BayesSinusoids(source), source, 400).mean == pytest.approx(0.005, rel=0.3)


@pytest.mark.parametrize("name", ["n_amplitudes", "n_phases"])
def test_a_grid_needs_two_points_along_each_axis(name):
    with pytest.raises(ValueError, match=name):
        BayesSinusoids(Sinusoids(), **{name: 1})


def test_inputs_and_targets_must_be_as_many():
    x = torch.zeros(3, 1)
    with pytest.raises(ValueError, match="one target for each x"):
        BayesSinusoids(Sinusoids()).predict(Examples(x, x[:2]), x)
