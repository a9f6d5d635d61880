"""Paired tests and their correction, against values worked out by hand."""

import math

import numpy as np
import pytest

from adb_core.metrics import (
    MetricError,
    compare,
    concept_means,
    holm,
    holm_levels,
    paired_differences,
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
        holm_levels([0.01, 0.04, 0.03, 0.005]), 1 - 0.05 / np.array([3, 1, 2, 4])
    )
    assert holm([]).shape == (0,)


def test_a_family_of_comparisons():
    rng = np.random.default_rng(0)
    names = [f"c{k}" for k in range(10)]
    theirs = {name: float(v) for name, v in zip(names, rng.uniform(0, 1, 10), strict=True)}
    ours = {name: v + 0.3 + 0.01 * k for k, (name, v) in enumerate(theirs.items())}
    found = compare(ours, {"worse": theirs, "same": ours})
    worse, same = found["worse"], found["same"]
    assert worse.interval.low > 0.3 and worse.p == 2 / 2**10 and worse.p_holm == 2 * worse.p
    assert worse.corrected.low < worse.interval.low and worse.corrected.high > worse.interval.high
    assert same.p == same.p_holm == 1.0 and same.interval[:3] == (0.0, 0.0, 0.0)
