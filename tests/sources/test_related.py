import pytest
import torch
from hypothesis import given
from hypothesis.strategies import booleans, floats, integers

from mlcode.sources.related import RelatedFunctions
from tests.helpers import SEEDS, distance, same, seeded

DOUBLE = {"dtype": torch.float64}


@given(seed=SEEDS, n_tasks=integers(1, 4), n_shot=integers(0, 4), shared=booleans())
def test_targets_are_one_weight_vector_a_task_times_the_inputs(seed, n_tasks, n_shot, shared):
    source = RelatedFunctions(0.5, n_shot=n_shot, shared_inputs=shared, **DOUBLE)
    tasks = source.sample(n_tasks, generator=seeded(seed))
    w = source.weights(n_tasks, generator=seeded(seed))
    assert tasks.support.x.shape == (n_tasks, n_shot, 12)
    for part in tasks:
        assert distance(part.y, part.x @ w[..., None]) < 1e-12
        assert not shared or (part.x == part.x[:1]).all()


@given(seed=SEEDS, n_common=integers(1, 12))
def test_fully_related_tasks_lie_in_the_common_directions(seed, n_common):
    source = RelatedFunctions(1.0, n_common=n_common)
    b, w = source.directions, source.weights(5, generator=seeded(seed))
    assert distance(b.T @ b, torch.eye(n_common).double()) < 1e-12
    assert distance(w @ b @ b.T, w) < 1e-12


@pytest.mark.parametrize("relatedness", [0.0, 0.4, 1.0])
def test_the_relatedness_is_the_share_of_the_targets_variance_that_is_common(relatedness):
    """An unrelated w lies in 2 of 12 directions by chance: with a sixth of its variance."""
    source = RelatedFunctions(relatedness)
    w = source.weights(40_000, generator=seeded(0))
    assert float(w.square().sum(1).mean()) == pytest.approx(1, abs=0.02)
    common = float((w @ source.directions).square().sum(1).mean())
    assert common == pytest.approx(relatedness + (1 - relatedness) / 6, abs=0.02)


def test_a_world_keeps_its_directions_and_another_has_others():
    assert same(RelatedFunctions().directions, RelatedFunctions(0.3, noise=1.0).directions)
    assert not same(RelatedFunctions().directions, RelatedFunctions(world=1).directions)


@given(seed=SEEDS)
def test_noise_is_on_support_targets_only(seed):
    noisy, exact = (
        RelatedFunctions(noise=noise, **DOUBLE).sample(2, generator=seeded(seed))
        for noise in (0.5, 0.0)
    )
    assert same(noisy.query, exact.query)
    assert not same(noisy.support.y, exact.support.y)


@given(seed=SEEDS, relatedness=floats(0, 1))
def test_one_seed_gives_the_same_tasks_in_every_dtype(seed, relatedness):
    doubled = RelatedFunctions(relatedness, **DOUBLE).sample(2, generator=seeded(seed))
    single = RelatedFunctions(relatedness, dtype=torch.float32).sample(2, generator=seeded(seed))
    assert same(single, doubled.to(dtype=torch.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelatedFunctions(1.5), "relatedness must lie between 0 and 1; got 1.5"),
        (lambda: RelatedFunctions(-0.5), "relatedness"),
        (lambda: RelatedFunctions(n_common=13), "use n_common <= 12"),
        (lambda: RelatedFunctions(n_shot=-1), "n_shot must be at least 0"),
        (lambda: RelatedFunctions(noise=-1.0), "noise must be positive"),
        (lambda: RelatedFunctions(world=-1), "world must be at least 0"),
        (lambda: RelatedFunctions().sample(0), "n_tasks must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
