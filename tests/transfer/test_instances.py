import pytest
import torch
from hypothesis import given

from mlcode import Examples
from mlcode.transfer import InstanceTransfer
from mlcode.transfer.heads import ridge
from mlcode.transfer.instances import density_ratio
from tests.helpers import SEEDS, seeded


def test_the_ratio_of_two_gaussians_is_found():
    """N(1, ½²) over N(0, 1): w(x) = 2 exp(−2(x − 1)² + x²/2), known at every x."""
    draw = seeded(0)
    source = torch.randn(4000, 1, generator=draw, dtype=torch.float64)
    target = 1 + torch.randn(400, 1, generator=draw, dtype=torch.float64) / 2
    found = density_ratio(source, target, width=0.5, penalty=0.01)
    x = source[:, 0]
    truth = 2 * torch.exp(-2 * (x - 1) ** 2 + x**2 / 2)
    assert (found - truth).abs().mean() < 0.1
    assert torch.corrcoef(torch.stack([found, truth]))[0, 1] > 0.98
    assert float(found.mean()) == pytest.approx(1.0, abs=0.05)


@given(seed=SEEDS)
def test_its_coefficients_minimise_the_stated_objective(seed):
    """½ αᵀHα − hᵀα + λ/2 αᵀα with H, h as means of kernels: its gradient at α is zero."""
    draw = seeded(seed)
    source = torch.randn(30, 2, generator=draw, dtype=torch.float64)
    target = torch.randn(5, 2, generator=draw, dtype=torch.float64)
    kernel = torch.exp(-(torch.cdist(source, target) ** 2) / 2)
    at_target = torch.exp(-(torch.cdist(target, target) ** 2) / 2)
    system = kernel.T @ kernel / 30 + 0.1 * torch.eye(5, dtype=torch.float64)
    alpha = torch.linalg.lstsq(system, at_target.mean(0)[:, None]).solution[:, 0]
    found = density_ratio(source, target, width=1.0, penalty=0.1)
    assert torch.allclose(found, (kernel @ alpha).clamp(min=0), atol=1e-9)
    assert (found >= 0).all()


def shifted(seed, n_support=8):
    """y = x² seen by the source around −1, asked by the target around 1.5: no line fits both."""
    draw = seeded(seed)
    source_x = torch.randn(200, 1, generator=draw, dtype=torch.float64) - 0.5
    x = 1.5 + 0.3 * torch.randn(n_support + 50, 1, generator=draw, dtype=torch.float64)
    support = Examples(x[:n_support], x[:n_support] ** 2)
    return Examples(source_x, source_x**2), support, x[n_support:]


def error(weighting, seed, **options):
    source, support, query_x = shifted(seed)
    learner = InstanceTransfer(source, weighting=weighting, width=0.5, **options)
    return float((learner.predict(support, query_x) - query_x**2).square().mean())


def test_weighting_by_the_ratio_beats_counting_all_alike():
    for seed in range(10):
        assert error("ratio", seed) < 0.5 * error("none", seed)


def test_counting_all_alike_is_the_pooled_fit_and_target_only_the_supports():
    source, support, query_x = shifted(0)

    def learner(weighting):
        return InstanceTransfer(source, weighting=weighting).predict(support, query_x)

    pooled = [torch.cat(parts) for parts in zip(source, support)]
    assert torch.allclose(learner("none"), ridge(*pooled, query_x, penalty=1e-3), atol=1e-12)
    alone = ridge(*support, query_x, penalty=1e-3)
    assert torch.allclose(learner("target only"), alone, atol=1e-12)


def test_classes_are_fitted_one_hot():
    source = Examples(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))
    learner = InstanceTransfer(source, n_way=2)
    outputs = learner.predict(source, torch.tensor([[-2.0], [2.0]]))
    assert outputs.argmax(1).tolist() == [0, 1]


@pytest.mark.usefixtures("unchecked")
def test_settings_that_make_no_sense_are_refused():
    source = Examples(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="Did you mean 'ratio'"):
        InstanceTransfer(source, weighting="ratios")
    with pytest.raises(ValueError, match="width must be positive"):
        InstanceTransfer(source, width=0)
    with pytest.raises(ValueError, match="the support set is empty"):
        InstanceTransfer(source).predict(Examples(source.x[:0], source.y[:0]), source.x)
    with pytest.raises(ValueError, match="needs one target per input"):
        InstanceTransfer(Examples(torch.zeros(2, 1), torch.zeros(3, 1)))
