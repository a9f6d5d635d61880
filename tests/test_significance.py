"""Paired tests and their correction, against values worked out by hand."""

import math

import numpy as np
import pytest

from adb_core.metrics import (
    MetricError,
    concept_means,
    holm,
    holm_levels,
    paired_differences,
    sign_flip_interval,
    sign_flip_test,
)


def test_a_concept_is_one_number():
    found = concept_means([1.0, 3.0, None, 5.0, float("nan")], ["a", "a", "a", "b", "c"])
    assert found == {"a": 2.0, "b": 5.0}


def test_differences_are_paired_by_name():
    ours, theirs = {"b": 3.0, "a": 1.0, "c": 9.0}, {"a": 0.5, "b": 1.0, "d": 0.0}
    np.testing.assert_allclose(paired_differences(ours, theirs), [0.5, 2.0])
    with pytest.raises(MetricError, match="no concept in common"):
        paired_differences({"a": 1.0}, {"b": 1.0})


def test_sign_flips_that_can_be_counted_by_hand():
    assert sign_flip_test([1.0, 1.0, 1.0]) == 2 / 8  # +++ and ---
    assert sign_flip_test([3.0, 1.0, -1.0]) == 6 / 8  # sums 5 3 3 1 -1 -3 -3 -5
    assert sign_flip_test([0.0, 0.0]) == 1.0
    assert sign_flip_test([0.1] * 12) == 2 / 2**12
    for odd in ([], [float("nan")]):
        with pytest.raises(MetricError, match="at least one finite"):
            sign_flip_test(odd)


def test_many_differences_are_sampled_and_agree_with_the_normal_limit():
    rng = np.random.default_rng(3)
    data = rng.normal(0.4, 1.0, 40)
    expected = math.erfc(abs(data.sum()) / math.sqrt(2 * (data**2).sum()))
    assert sign_flip_test(data) == pytest.approx(expected, abs=0.01)
    assert sign_flip_test(data) == sign_flip_test(data)
    assert sign_flip_test(np.full(30, 1.0)) > 0


def test_holm_as_in_the_textbook():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.5]), [1.0, 1.0])
    np.testing.assert_allclose(
        # 0.03 * 2 is no longer below 0.05: there Holm stops, and what is left shares its level
        holm_levels([0.01, 0.04, 0.03, 0.005]),
        1 - 0.05 / np.array([3, 2, 2, 4]),
    )
    np.testing.assert_allclose(holm_levels([0.01, 0.01, 0.02]), 1 - 0.05 / np.array([3, 3, 1]))
    assert holm([]).shape == (0,)


def test_an_interval_by_hand():
    """Ends are means of subsets: with five differences, the least and the largest at 1 - 2 / 16."""
    data = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert sign_flip_interval(data, 1 - 2 / 32)[:3] == (6.2, 1.0, 16.0)
    assert sign_flip_interval(data, 1 - 4 / 32)[:3] == (6.2, 1.5, 12.0)
    assert sign_flip_interval(data, 0.95)[1:] == (-math.inf, math.inf, 5)


@pytest.mark.parametrize("count", [3, 6, 9, 20])
def test_an_interval_leaves_out_what_the_test_rejects(count):
    rng = np.random.default_rng(count)
    for _ in range(15):
        data = rng.normal(rng.uniform(-1, 1), 1, count)
        level = rng.choice([0.5, 0.8, 0.9, 0.95, 0.99])
        found = sign_flip_interval(data, level, resamples=500)
        for shift in (0.0, *rng.normal(0, 1, 5)):
            rejected = sign_flip_test(data - shift, resamples=500) <= 1 - level
            assert rejected == (not found.low <= shift <= found.high)
