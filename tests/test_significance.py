"""Tests against scipy, and laws of chance that a wrong test would break."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, lists
from scipy import stats

from mlcode.significance import (
    corrected,
    holm,
    paired_difference,
    t_quantile,
    two_sided_p,
)

VALUES = lists(floats(-10, 10).map(lambda v: round(v, 3)), min_size=3, max_size=40)


def pair(a, b):
    """The test of two learners, each trained once unless the values have two axes."""
    return paired_difference(("a", np.atleast_2d(a)), ("b", np.atleast_2d(b)))


@given(df=integers(1, 700), t=floats(-30, 30))
def test_p_is_scipys(df, t):
    assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), abs=1e-12)


@given(df=integers(1, 700))
def test_the_quantile_is_scipys(df):
    assert t_quantile(df) == pytest.approx(stats.t.ppf(0.975, df), abs=1e-9)


@given(a=VALUES, shift=floats(-3, 3))
def test_a_paired_test_is_scipys_and_its_interval_too(a, shift):
    b = shift + np.sin(1 + np.arange(len(a)))  # not a constant distance away
    found, expected = pair(a, b), stats.ttest_rel(a, b)
    interval = expected.confidence_interval()
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.interval == pytest.approx((interval.high - interval.low) / 2, rel=1e-6)


@given(a=VALUES, shift=floats(-3, 3))
def test_the_interval_leaves_out_zero_just_where_p_is_below_five_per_cent(a, shift):
    found = pair(a, shift + np.sin(1 + np.arange(len(a))))
    if abs(found.p - 0.05) > 1e-6:
        assert (abs(found.mean) > found.interval) == (found.p < 0.05)


def test_a_paired_test_by_hand():
    found = pair([1.0, 2.0, 6.0], [0.0, 2.0, 4.0])  # differences 1, 0, 2
    error = 1 / np.sqrt(3)
    assert found.mean == 1
    assert found.interval == pytest.approx(4.302652729696142 * error)
    assert found.p == pytest.approx(2 * stats.t.sf(1 / error, 2))


def test_several_trainings_of_both_are_welchs_test_where_the_tasks_say_nothing():
    """All tasks alike: only the seeds vary. Welch's degrees of freedom are rounded down."""
    a, b = np.array([1.0, 2.0, 4.0, 3.5]), np.array([5.0, 5.5, 6.5])
    tasks = np.ones((1, 5))
    found = pair(a[:, None] * tasks, b[:, None] * tasks)
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(welch.statistic), int(welch.df)))
    assert found.p >= welch.pvalue


@pytest.mark.parametrize("n_trainings", [1, 3])
def test_equal_values_differ_by_exactly_zero_and_are_not_told_apart(n_trainings):
    values = np.random.default_rng(0).random((n_trainings, 9))
    (found,) = corrected([pair(values, values.copy())])
    assert (found.mean, found.p, found.p_holm, found.told_apart) == (0.0, 1.0, 1.0, False)


def test_a_difference_that_is_the_same_everywhere_has_the_sign_tests_p():
    a = np.random.default_rng(0).random(8)
    assert pair(a + 0.2, a).p == 2**-7
    assert pair([1.0, 2.0], [0.0, 1.0]).p == 0.5, "two tasks prove nothing"


@pytest.mark.parametrize(
    ("n_trainings", "seeds_vary"), [((1, 1), False), ((4, 4), True), ((2, 6), True)]
)
def test_equal_methods_are_told_apart_in_five_of_a_hundred_cases(n_trainings, seeds_vary):
    """In 400 repetitions the count has a standard deviation of 4.4, and Welch's is cautious."""
    draw, n_found = np.random.default_rng(1), 0
    for _ in range(400):
        task = draw.normal(size=30)
        values = [
            task + seeds_vary * draw.normal(size=(n, 1)) + 0.3 * draw.normal(size=(n, 30))
            for n in n_trainings
        ]
        n_found += pair(*values).p < 0.05
    assert n_found <= 36
    assert n_found >= (6 if n_trainings[0] != 2 else 1)


@given(p=lists(floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_keeps_the_order_and_lies_between_p_and_bonferronis(p):
    found = holm(p)
    assert [found[i] for i in np.argsort(p, kind="stable")] == sorted(found)
    assert all(a <= b <= min(1.0, len(p) * a) + 1e-15 for a, b in zip(p, found))


def test_holms_correction_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shapes", [((1, 4), (1, 5)), ((1, 1), (1, 1))])
def test_other_tasks_or_a_single_one_are_refused(shapes):
    with pytest.raises(ValueError, match="a paired test needs the same tasks, two or more"):
        pair(*map(np.zeros, shapes))
