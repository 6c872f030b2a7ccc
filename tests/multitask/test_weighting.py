"""How much each task counts. The closed forms are worked out in the docstrings."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import floats, integers
from torch import nn

from mlcode.multitask import FixedWeights, UncertaintyWeights

AMOUNTS = floats(0.01, 100)


def minimise(module, loss, n_steps=60):
    """Newton-like minimisation to rounding, of a few numbers."""
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=n_steps, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


@given(a=AMOUNTS, b=AMOUNTS, wa=floats(0.1, 5), wb=floats(0.1, 5))
def test_fixed_weights_make_the_weighted_mean(a, b, wa, wb):
    losses = {"a": torch.tensor(a).double(), "b": torch.tensor(b).double()}
    terms = FixedWeights({"a": wa, "b": wb})(losses)
    assert float(sum(terms.values())) == pytest.approx((wa * a + wb * b) / (wa + wb))


@given(n=integers(1, 6), loss=AMOUNTS)
def test_as_many_equal_tasks_as_one_likes_cost_what_one_costs(n, loss):
    names = [str(i) for i in range(n)]
    terms = FixedWeights(names)({name: torch.tensor(loss) for name in names})
    assert float(sum(terms.values())) == pytest.approx(loss)


def test_a_weight_that_goes_to_zero_goes_over_into_leaving_the_task_out():
    p = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    slopes = []
    for weight in (1e-1, 1e-6, 1e-300, 0.0):
        terms = FixedWeights({"a": 1.0, "b": weight})({"a": p**2, "b": 100 * p})
        slopes.append(torch.autograd.grad(sum(terms.values()), p)[0].item())
    assert slopes[2] == slopes[3] == 4.0
    assert slopes[0] > slopes[1] > slopes[2]


def test_an_infinite_loss_of_weight_zero_moves_nothing():
    p = torch.tensor(0.0, requires_grad=True)
    terms = FixedWeights({"a": 1.0, "b": 0.0})({"a": (p - 1) ** 2, "b": 1 / p})
    assert set(terms) == {"a"}
    assert torch.autograd.grad(terms["a"], p)[0].item() == -2.0


@given(a=AMOUNTS, b=AMOUNTS)
def test_for_given_losses_the_variance_settles_at_the_loss_or_at_twice_it(a, b):
    """L/(2σ²) + log σ is least at σ² = L, and L/σ² + log σ at σ² = 2L; each weight is 1/(2L)."""
    weighting = UncertaintyWeights({"a": "regression", "b": "classification"}).double()
    losses = {"a": torch.tensor(a).double(), "b": torch.tensor(b).double()}
    minimise(weighting, lambda: sum(weighting(losses).values()))
    assert weighting.variances() == pytest.approx({"a": a, "b": 2 * b}, rel=1e-3)
    assert weighting.weights() == pytest.approx({"a": 1 / (2 * a), "b": 1 / (2 * b)}, rel=1e-3)


@given(noise_a=floats(0.2, 5), noise_b=floats(0.2, 5), far=floats(0.1, 2))
def test_on_two_quadratics_it_minimises_the_product_of_the_losses(noise_a, noise_b, far):
    """L_a = θ² + a and L_b = (θ − c)² + b. With σ² = L everywhere, the objective is
    ½(log L_a + log L_b) and a constant, which stands still where θ L_b + (θ − c) L_a = 0: a cubic.
    """

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.tensor(far / 2))
            self.weighting = UncertaintyWeights({"a": "regression", "b": "regression"})

        def objective(self):
            losses = {"a": self.theta**2 + noise_a, "b": (self.theta - far) ** 2 + noise_b}
            return sum(self.weighting(losses).values())

    both = Both().double()
    minimise(both, both.objective)
    a, b, c = noise_a, noise_b, far
    roots = np.roots([2.0, -3 * c, c**2 + a + b, -c * a])
    roots = roots[abs(roots.imag) < 1e-9].real
    assert min(abs(roots - both.theta.item())) < 1e-4
    theta = both.theta.item()
    expected = {"a": theta**2 + a, "b": (theta - c) ** 2 + b}
    assert both.weighting.variances() == pytest.approx(expected, rel=1e-3)


def test_the_noisier_of_two_tasks_counts_less():
    """Kendall et al. weigh by the noise: with the same answer wanted, a quarter of it for twice."""
    weighting = UncertaintyWeights({"clean": "regression", "noisy": "regression"}).double()
    losses = {"clean": torch.tensor(1.0).double(), "noisy": torch.tensor(4.0).double()}
    minimise(weighting, lambda: sum(weighting(losses).values()))
    weights = weighting.weights()
    assert weights["clean"] / weights["noisy"] == pytest.approx(4, rel=1e-3)


def test_a_task_without_error_draws_its_weight_to_the_bound_and_no_further():
    weighting = UncertaintyWeights({"a": "regression"}, min_variance=1e-3).double()
    losses = {"a": torch.tensor(0.0).double()}
    optimizer = torch.optim.SGD(weighting.parameters(), 1.0)
    for _ in range(200):
        optimizer.zero_grad()
        sum(weighting(losses).values()).backward()
        optimizer.step()
    assert 400 < weighting.weights()["a"] <= 500
    assert weighting(losses)["a"].isfinite()


def test_each_variance_has_a_gradient_from_its_own_task_only():
    weighting = UncertaintyWeights({"a": "regression", "b": "classification"})
    terms = weighting({"a": torch.tensor(3.0)})
    sum(terms.values()).backward()
    assert weighting.log_variance[0].grad.item() != 0
    assert weighting.log_variance[1].grad is None


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FixedWeights({}), ValueError, "at least one task"),
        (lambda: FixedWeights(["a", "a"]), ValueError, "at least one task"),
        (lambda: FixedWeights({"a": -1.0}), ValueError, "'a' must be finite and >= 0; got -1"),
        (lambda: FixedWeights({"a": float("nan")}), ValueError, "must be finite"),
        (lambda: FixedWeights({"a": "1"}), TypeError, "weight of 'a' must be a number"),
        (lambda: FixedWeights({"a": 0.0, "b": 0.0}), ValueError, "every weight is 0 of 'a', 'b'"),
        (
            lambda: FixedWeights({"a": 0.0, "b": 1.0})({"a": torch.tensor(1.0)}),
            ValueError,
            "every weight is 0 of 'a'",
        ),
        (
            lambda: FixedWeights(["heights"])({"height": torch.tensor(1.0)}),
            ValueError,
            "Did you mean 'heights'",
        ),
        (lambda: UncertaintyWeights({"a": "regresion"}), ValueError, "mean 'regression'"),
        (
            lambda: UncertaintyWeights({"a": "regression"}, min_variance=0.0),
            ValueError,
            "min_variance must be positive",
        ),
        (lambda: UncertaintyWeights({"a": "regression"})({}), ValueError, "at least one task"),
    ],
)
def test_weights_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
