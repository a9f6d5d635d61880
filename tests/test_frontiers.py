"""Frontiers: the envelope, identity at matched text, the area between two curves."""

import numpy as np
import pytest

from adb_core.metrics import MetricError, area, between, envelope, identity_at, moments

TEXT, IDENTITY = [0.9, 0.8, 0.7, 0.75], [0.2, 0.5, 0.4, 0.6]


def test_the_envelope_keeps_what_nothing_beats():
    x, y = envelope(TEXT, IDENTITY)
    np.testing.assert_allclose(x, [0.75, 0.8, 0.9])
    np.testing.assert_allclose(y, [0.6, 0.5, 0.2])
    x, y = envelope([0.5, 0.5], [0.1, 0.3])
    assert x.tolist() == [0.5] and y.tolist() == [0.3]
    for odd in (([], []), ([0.1], [float("nan")]), ([0.1], [0.1, 0.2])):
        with pytest.raises(MetricError, match="one finite text and identity"):
            envelope(*odd)


def test_identity_at_a_text():
    wanted = np.array([0.1, 0.75, 0.85, 0.9, 0.91])
    np.testing.assert_allclose(identity_at(TEXT, IDENTITY, wanted), [0.6, 0.6, 0.35, 0.2, np.nan])


def test_the_area_is_the_integral_and_what_is_out_of_reach_counts_nothing():
    assert area([0.0, 1.0], [1.0, 0.0], 0.0, 1.0) == pytest.approx(0.5, abs=1e-6)
    assert area([0.5], [0.8], 0.0, 1.0) == pytest.approx(0.4, abs=1e-6)
    with pytest.raises(MetricError, match="range of text"):
        area([0.5], [0.8], 1.0, 1.0)


def curves(lift: float) -> dict:
    """Five concepts of unequal difficulty: identity grows by steps as text falls."""
    return {
        f"c{k}": {0: (0.9, 0.1), 10: (0.8, 0.3 + 0.05 * k + lift), 20: (0.6, 0.5 + lift)}
        for k in range(5)
    }


def test_moments_are_means_over_concepts():
    found = moments(curves(0.0))
    assert [m.step for m in found] == [0, 10, 20]
    assert found[1].identity.mean == pytest.approx(0.4) and found[1].identity.count == 5
    assert found[1].identity.low < 0.4 < found[1].identity.high
    assert found[2].text[:3] == pytest.approx((0.6, 0.6, 0.6))
    with pytest.raises(MetricError, match="after the same steps"):
        moments({"a": {0: (1, 1)}, "b": {1: (1, 1)}})


def test_a_lifted_curve_is_above_by_what_it_was_lifted():
    found = between(curves(0.1), curves(0.0), 0.6, 0.8, resamples=200)
    assert found["area"].mean == pytest.approx(0.1) and found["area"].low > 0.09
    assert found["matched"].mean == pytest.approx(0.1) and found["area"].count == 5
    same = between(curves(0.0), curves(0.0), 0.6, 0.9, resamples=50)
    assert same["area"][:3] == (0.0, 0.0, 0.0) and same["matched"].mean == 0
    with pytest.raises(MetricError, match="no concept in common"):
        between({"a": {0: (1, 1)}}, {"b": {0: (1, 1)}}, 0, 1)
