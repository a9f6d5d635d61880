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
    found = between(curves(0.1), {"low": curves(0.0)}, 0.6, 0.8, resamples=200)["low"]
    assert found["area"].interval.mean == pytest.approx(0.1) and found["area"].interval.low > 0.09
    assert found["matched"].interval.mean == pytest.approx(0.1)
    assert found["area"].interval.count == 5
    assert found["area"].p == 2 / 2**5  # all patterns but none and all swapped are nearer to 0
    same = between(curves(0.0), {"same": curves(0.0)}, 0.6, 0.9, resamples=50)["same"]
    assert same["area"].interval[:3] == (0.0, 0.0, 0.0) and same["area"].p == 1
    assert same["matched"].interval.mean == 0
    with pytest.raises(MetricError, match="no concept in common"):
        between({"a": {0: (1, 1)}}, {"b": {"b": {0: (1, 1)}}}, 0, 1)


def test_both_measures_and_all_others_are_one_family():
    others = {"low": curves(0.0), "as good": curves(0.1), "lower": curves(-0.1)}
    found = between(curves(0.1), others, 0.6, 0.8, resamples=200)
    for measure in ("area", "matched"):
        p = {name: comparisons[measure].p for name, comparisons in found.items()}
        assert p == {"low": 1 / 16, "as good": 1, "lower": 1 / 16}
        adjusted = {name: comparisons[measure].p_holm for name, comparisons in found.items()}
        assert adjusted == {"low": 6 / 16, "as good": 1, "lower": 6 / 16}  # six tests
    for name in ("low", "lower"):
        plain, corrected = found[name]["area"].interval, found[name]["area"].corrected
        assert corrected.low <= plain.low and plain.high <= corrected.high


def test_few_concepts_carry_no_high_level():
    """Five concepts have no p below 1 / 16: an interval at 95 % would claim what no test can."""
    found = between(curves(0.1), {"low": curves(0.0)}, 0.6, 0.8, resamples=200)["low"]["area"]
    assert found.p_holm > 0.05 and found.corrected[1:3] == (-np.inf, np.inf)
    more = [{f"{c}{k}": v for c, v in curves(lift).items() for k in "ab"} for lift in (0.1, 0)]
    found = between(more[0], {"low": more[1]}, 0.6, 0.8, resamples=200)["low"]["area"]
    assert found.p == 2 / 2**10 and found.p_holm < 0.05 and 0 < found.corrected.low < 0.1


def test_the_swaps_of_many_concepts_are_drawn():
    """Of noise alone p is uniform: about one family in ten has p below 0.1."""
    rng, below = np.random.default_rng(0), 0
    for _ in range(60):
        sides = [
            {f"c{k}": {0: (0.9, 0.1), 1: (0.7, 0.4 + rng.normal(0, 0.05))} for k in range(11)}
            for _ in range(2)
        ]
        found = between(sides[0], {"x": sides[1]}, 0.7, 0.85, resamples=60)
        below += found["x"]["area"].p <= 0.1
    assert 0 <= below <= 15


def test_curves_of_other_lengths_are_refused():
    longer = {c: {**curve, 30: (0.5, 0.8)} for c, curve in curves(0.0).items()}
    with pytest.raises(MetricError, match="'longer' was measured 4 times .* and ours 3 times"):
        between(curves(0.1), {"longer": longer}, 0.6, 0.8, resamples=50)
