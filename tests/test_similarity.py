import pytest
import torch
from hypothesis import given
from hypothesis.strategies import floats, integers

from mlcode.similarity import linear_cka
from tests.helpers import SEEDS, seeded


def representation(seed, n=7, features=4):
    return torch.randn(n, features, generator=seeded(seed), dtype=torch.float64)


@given(seed=SEEDS, features=integers(1, 9))
def test_it_is_the_normalised_hsic_of_the_centred_kernels(seed, features):
    """HSIC = tr(K H L H) / (n − 1)², the definition before any of it was simplified."""
    a, b = representation(seed), representation(seed + 1, features=features)
    centre = torch.eye(7, dtype=torch.float64) - 1 / 7

    def hsic(x, y):
        return torch.trace(x @ x.T @ centre @ y @ y.T @ centre) / 36

    expected = hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()
    assert torch.allclose(linear_cka(a, b), expected, atol=1e-12)


@given(seed=SEEDS, scale=floats(0.1, 10), shift=floats(-5, 5))
def test_turning_scaling_and_moving_changes_nothing(seed, scale, shift):
    a, b = representation(seed), representation(seed + 1)
    turn, _ = torch.linalg.qr(representation(seed + 2, 4, 4))
    assert torch.allclose(linear_cka(scale * a @ turn + shift, b), linear_cka(a, b), atol=1e-10)
    assert float(linear_cka(a, scale * a @ turn + shift)) == pytest.approx(1.0, abs=1e-10)


def test_unrelated_representations_score_near_zero():
    a, b = representation(0, 4000, 3), representation(1, 4000, 3)
    assert float(linear_cka(a, b)) < 0.01


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="the same 2 or more examples twice; got 7 and 6"):
        linear_cka(representation(0), representation(0, 6))
    with pytest.raises(ValueError, match="the same for every example"):
        linear_cka(torch.ones(3, 2), torch.randn(3, 2))
