import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers

from mlcode import Sinusoids
from mlcode.sources.mixed_functions import KINDS, Curves, MixedFunctions
from mlcode.sources.sinusoids import Waves
from tests.helpers import SEEDS, distance, same, seeded

DOUBLE = {"dtype": torch.float64}


def curves(kind, size, place):
    return Curves(torch.tensor([kind]), torch.tensor([size]), torch.tensor([place]))


def test_a_wave_is_that_of_the_sinusoids_a_line_a_line_and_a_step_a_step():
    x = torch.linspace(-5, 5, 11)[None, :, None]
    wave = Waves(torch.tensor([2.0]), torch.tensor([0.5]))
    assert distance(curves(0, 2.0, 0.5)(x), wave(x)) < 1e-6
    assert distance(curves(1, 2.0, 0.5)(x), 2 * x + 0.5) < 1e-6
    assert curves(2, 2.0, 0.5)(x)[0, :, 0].tolist() == [-2.0] * 6 + [2.0] * 5


@given(seed=SEEDS, n_tasks=integers(1, 5), n_shot=integers(0, 4))
def test_points_lie_on_the_curves_within_the_range(seed, n_tasks, n_shot):
    source = MixedFunctions(n_shot, 3, **DOUBLE)
    draw = seeded(seed)
    drawn = source.curves(n_tasks, generator=draw)
    tasks = source.points(drawn, generator=draw)
    assert same(tasks, source.sample(n_tasks, generator=seeded(seed)))
    for part, n in zip(tasks, (n_shot, 3)):
        assert part.x.shape == part.y.shape == (n_tasks, n, 1)
        assert distance(part.y, drawn(part.x)) < 1e-12
        assert not n or part.x.abs().max() <= 5


def test_all_kinds_are_equally_likely_and_their_numbers_fill_their_intervals():
    drawn = MixedFunctions().curves(9000, generator=seeded(0))
    limits = {0: ((0.1, 5), (0, 3.1416)), 1: ((-1, 1), (-2, 2)), 2: ((-3, 3), (-2.5, 2.5))}
    for kind, intervals in limits.items():
        here = drawn.kind == kind
        assert float(here.double().mean()) == pytest.approx(1 / 3, abs=0.02)
        for values, (low, high) in zip((drawn.size[here], drawn.place[here]), intervals):
            assert float(values.min()) == pytest.approx(low, abs=0.01)
            assert float(values.max()) == pytest.approx(high, abs=0.01)
            assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.1)


@given(seed=SEEDS)
def test_of_kinds_asked_for_only_these_are_drawn(seed):
    drawn = MixedFunctions(kinds=("step", "wave")).curves(20, generator=seeded(seed))
    assert set(drawn.kind.tolist()) <= {KINDS.index("step"), KINDS.index("wave")}


@given(seed=SEEDS)
def test_noise_is_on_support_targets_only(seed):
    noisy, exact = (
        MixedFunctions(noise=noise, **DOUBLE).sample(3, generator=seeded(seed))
        for noise in (0.5, 0.0)
    )
    assert same(noisy.query, exact.query)
    assert not same(noisy.support.y, exact.support.y)


def test_waves_are_drawn_from_the_intervals_of_the_sinusoids():
    assert MixedFunctions.amplitude == Sinusoids.amplitude
    assert MixedFunctions.x_range == Sinusoids.x_range


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixedFunctions(kinds=("waves",)), "Did you mean 'wave'"),
        (lambda: MixedFunctions(kinds=()), "kinds must be distinct and at least one"),
        (lambda: MixedFunctions(kinds=("wave", "wave")), "kinds must be distinct"),
        (lambda: MixedFunctions(slope=(1.0, 0.0)), "slope must be"),
        (lambda: MixedFunctions(n_query=0), "n_query must be at least 1"),
        (lambda: MixedFunctions().sample(0), "n_tasks must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
