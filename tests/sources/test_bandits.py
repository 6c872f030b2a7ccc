"""The machines: what they pay, what a choice costs, and what they refuse."""

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import floats, integers

from mlcode.sources.bandits import Bandits, BernoulliBandits, beta
from tests.helpers import SEEDS, same, seeded

few = integers(1, 6)


def sure(*rows):
    return Bandits(torch.tensor(rows, dtype=torch.float64))


@given(seed=SEEDS, n_tasks=few, n_arms=few)
def test_a_batch_has_a_probability_for_each_arm_of_each_task(seed, n_tasks, n_arms):
    bandits = BernoulliBandits(n_arms).sample(n_tasks, generator=seeded(seed))
    assert bandits.probability.shape == (n_tasks, n_arms) == (bandits.n_tasks, bandits.n_arms)
    assert bool(((bandits.probability >= 0) & (bandits.probability <= 1)).all())


@given(seed=SEEDS)
def test_one_seed_gives_the_same_bandits_in_every_dtype(seed):
    double = BernoulliBandits(3, dtype=torch.float64).sample(4, generator=seeded(seed))
    single = BernoulliBandits(3, dtype=torch.float32).sample(4, generator=seeded(seed))
    assert same(single.probability, double.probability.float())


@pytest.mark.parametrize("prior", [(1.0, 1.0), (2.0, 5.0), (0.5, 0.5)])
def test_probabilities_come_from_the_beta_prior(prior):
    p = BernoulliBandits(4, prior, torch.float64).sample(20_000, generator=seeded(0)).probability
    expected = torch.distributions.Beta(*map(torch.tensor, prior))
    assert float(p.mean()) == pytest.approx(float(expected.mean), abs=0.005)
    assert float(p.var()) == pytest.approx(float(expected.variance), rel=0.03)


@given(a=floats(0.5, 9), b=floats(0.5, 9))
def test_a_beta_draw_depends_on_the_generator_alone(a, b):
    size = (torch.full((5,), a), torch.full((5,), b))
    torch.manual_seed(1)
    first = beta(*size, seeded(0))
    torch.manual_seed(2)
    assert same(first, beta(*size, seeded(0)))
    assert not same(first, beta(*size, seeded(1)))


def test_sure_arms_pay_what_they_must():
    bandits = sure([0.0, 1.0], [1.0, 0.0])
    for _ in range(50):
        assert bandits.pull(torch.tensor([0, 1])).tolist() == [0, 0]
        assert bandits.pull(torch.tensor([1, 0])).tolist() == [1, 1]


def test_an_arm_pays_as_often_as_its_probability_says():
    bandits = Bandits(torch.tensor([[0.3, 0.9]]).expand(40_000, 2))
    for arm, p in ((0, 0.3), (1, 0.9)):
        paid = bandits.pull(torch.full((40_000,), arm), generator=seeded(0))
        assert set(paid.tolist()) == {0, 1}
        assert float(paid.mean()) == pytest.approx(p, abs=0.01)


def test_regret_by_hand():
    bandits = sure([0.25, 0.75, 0.5], [1.0, 0.0, 0.5])
    regret = bandits.regret(torch.tensor([[0, 1, 2], [1, 1, 0]]))
    assert regret.tolist() == [[0.5, 0.0, 0.25], [1.0, 1.0, 0.0]]
    assert bandits.regret(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0)


@given(seed=SEEDS, n_arms=few)
def test_no_regret_is_negative_and_the_best_arm_has_none(seed, n_arms):
    bandits = BernoulliBandits(n_arms).sample(5, generator=seeded(seed))
    arms = torch.arange(n_arms).expand(5, n_arms)
    regret = bandits.regret(arms)
    assert float(regret.min(1).values.abs().max()) == 0
    assert bool((regret >= 0).all())


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; got"):
        sure([0.5, wrong])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (2, 2, 2)])
def test_probabilities_of_another_shape_are_refused(shape, unchecked):
    with pytest.raises(ValueError, match=r"shape \(task, arm\)"):
        Bandits(torch.zeros(shape))


def test_integer_probabilities_are_refused(unchecked):
    with pytest.raises(TypeError, match="must be floating point"):
        Bandits(torch.ones(2, 2, dtype=torch.long))


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (torch.tensor([0, 2]), r"numbered 0 … 1; got 2"),
        (torch.tensor([-1, 0]), r"numbered 0 … 1; got -1"),
        (torch.tensor([0]), "for each of 2 bandits"),
        (torch.tensor([0.0, 1.0]), "expected integers"),
        (torch.tensor([[0], [1]]), "for each of 2 bandits|expected integers"),
    ],
)
def test_arms_that_are_not_there_are_refused(arms, message, unchecked):
    bandits = sure([0.5, 0.5], [0.5, 0.5])
    if arms.ndim == 1:
        with pytest.raises(ValueError, match=message):
            bandits.pull(arms)
        with pytest.raises(ValueError, match=r"numbered|expected integers"):
            bandits.regret(arms[:, None])
    else:
        with pytest.raises(ValueError, match=message):
            bandits.pull(arms[..., None])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BernoulliBandits(0), ValueError, "n_arms must be at least 1; got 0"),
        (lambda: BernoulliBandits(2.0), TypeError, "n_arms must be an integer"),
        (lambda: BernoulliBandits(2, (0.0, 1.0)), ValueError, "a of the prior must be positive"),
        (lambda: BernoulliBandits(2, (1.0, -1.0)), ValueError, "b of the prior must be positive"),
        (lambda: BernoulliBandits(2, 1.0), TypeError, "prior must be two numbers"),
        (lambda: BernoulliBandits(2).sample(0), ValueError, "n_tasks must be at least 1; got 0"),
    ],
)
def test_impossible_settings_are_refused(make, error, message, unchecked):
    with pytest.raises(error, match=message):
        make()
