import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers

from mlcode import Sinusoids
from tests.helpers import SEEDS, same, seeded

few = integers(1, 6)


@given(n_tasks=few, n_shot=integers(0, 6), n_query=few)
def test_shapes_are_task_example_feature(n_tasks, n_shot, n_query):
    support, query = Sinusoids(n_shot, n_query).sample(n_tasks)
    assert support.x.shape == support.y.shape == (n_tasks, n_shot, 1)
    assert query.x.shape == query.y.shape == (n_tasks, n_query, 1)


@given(seed=SEEDS, n_tasks=few)
def test_support_and_query_of_a_task_lie_on_its_one_wave(seed, n_tasks):
    source = Sinusoids(dtype=torch.float64)
    waves = source.waves(n_tasks, generator=seeded(seed))
    for x, y in source.sample(n_tasks, generator=seeded(seed)):
        for task in range(n_tasks):
            height = waves.amplitude[task] * torch.sin(x[task] - waves.phase[task])
            assert torch.allclose(y[task], height, rtol=0, atol=1e-12)


@given(seed=SEEDS)
def test_waves_and_then_points_draw_what_sample_draws(seed):
    source, generator = Sinusoids(dtype=torch.float64), seeded(seed)
    in_turn = source.points(source.waves(3, generator=generator), generator=generator)
    assert same(in_turn, source.sample(3, generator=seeded(seed)))


@given(seed=SEEDS)
def test_one_seed_gives_the_same_tasks_in_every_dtype(seed):
    double = Sinusoids(dtype=torch.float64).sample(3, generator=seeded(seed))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert same(
            Sinusoids(dtype=dtype).sample(3, generator=seeded(seed)), double.to(dtype=dtype)
        )


def test_the_default_dtype_is_torchs():
    assert Sinusoids().sample(1).support.x.dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert Sinusoids().sample(1).query.y.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_sampling_leaves_the_global_generator_alone_and_advances_its_own():
    before, generator = torch.get_rng_state(), seeded(0)
    first, second = (Sinusoids().sample(2, generator=generator) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first.support.x, second.support.x)


def test_without_a_generator_torchs_global_seed_decides():
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(Sinusoids().sample(2))
    assert same(*draws)


@given(seed=SEEDS)
def test_every_draw_lies_in_its_interval(seed):
    source = Sinusoids(amplitude=(2, 3), phase=(-1, -0.5), x_range=(7, 7.5), dtype=torch.float64)
    waves = source.waves(50, generator=seeded(seed))
    tasks = source.points(waves, generator=seeded(seed))
    for values, (low, high) in (
        (waves.amplitude, source.amplitude),
        (waves.phase, source.phase),
        (tasks.support.x, source.x_range),
        (tasks.query.x, source.x_range),
    ):
        assert low <= values.min()
        assert values.max() <= high


def test_amplitude_phase_and_inputs_are_uniform_and_independent():
    source, generator = Sinusoids(n_shot=1, n_query=1, dtype=torch.float64), seeded(0)
    waves = source.waves(20_000, generator=generator)
    tasks = source.points(waves, generator=generator)
    columns = np.stack([waves.amplitude, waves.phase, *(part.x.flatten() for part in tasks)])
    ranges = ((0.1, 5), (0, math.pi), (-5, 5), (-5, 5))  # the paper's
    unit = np.stack([(c - low) / (high - low) for c, (low, high) in zip(columns, ranges)])
    # The largest gap to the uniform distribution function, Kolmogorov's statistic, against its
    # 99.99 % quantile 2.23/√n.
    steps = np.arange(1, 20_001) / 20_000
    assert np.abs(np.sort(unit) - steps).max() < 2.23 / math.sqrt(20_000)
    correlation = np.corrcoef(unit) - np.eye(4)
    assert np.abs(correlation).max() < 4 / math.sqrt(20_000)


def test_tasks_of_one_batch_differ():
    waves = Sinusoids().waves(50, generator=seeded(0))
    assert len(waves.amplitude.unique()) == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_shot": -1}, "n_shot must be at least 0; got -1"),
        ({"n_query": 0}, "n_query must be at least 1; got 0"),
        ({"amplitude": (5.0, 0.1)}, r"amplitude must be \(low, high\) .* got \(5.0, 0.1\)"),
        ({"phase": (0.0, math.inf)}, r"phase must be \(low, high\) .* got \(0.0, inf\)"),
        ({"x_range": (math.nan, 1.0)}, r"x_range must be \(low, high\) .* got \(nan, 1.0\)"),
    ],
)
def test_impossible_settings_are_refused_by_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sinusoids(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_shot": 2.0}, r"n_shot must be an integer; got 2.0 \(float\)"),
        ({"n_query": True}, r"n_query must be an integer; got True \(bool\)"),
        ({"amplitude": 5.0}, r"amplitude must be two numbers, \(low, high\); got 5.0"),
        ({"phase": (0.0, 1.0, 2.0)}, r"phase must be two numbers, .* got \(0.0, 1.0, 2.0\)"),
        ({"x_range": ("0", "1")}, r"x_range must be two numbers, .* got \('0', '1'\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_of_a_wrong_type_are_refused_by_type(arguments, message):
    with pytest.raises(TypeError, match=message):
        Sinusoids(**arguments)


def test_at_least_one_task_must_be_asked_for():
    with pytest.raises(ValueError, match="n_tasks must be at least 1; got 0"):
        Sinusoids().sample(0)


def test_noise_is_on_support_targets_only_and_has_the_spread_asked_for():
    exact = Sinusoids(n_shot=50, n_query=5, dtype=torch.float64)
    noisy = Sinusoids(n_shot=50, n_query=5, noise=0.3, dtype=torch.float64)
    a, b = (source.sample(200, generator=seeded(0)) for source in (exact, noisy))
    assert same(a.query, b.query)
    assert torch.equal(a.support.x, b.support.x)
    difference = b.support.y - a.support.y
    assert difference.std().item() == pytest.approx(0.3, rel=0.03)
    assert difference.mean().abs() < 0.02


def test_noise_below_zero_is_refused():
    with pytest.raises(ValueError, match="noise"):
        Sinusoids(noise=-0.1)
