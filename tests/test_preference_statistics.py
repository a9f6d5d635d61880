"""Counts of votes: exact intervals, power, Bradley-Terry, resampling, agreement, against others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adb_core.preference.agreement import krippendorff_alpha, pairwise_agreement, share
from adb_core.preference.bradley_terry import (
    OrderError,
    bradley_terry,
    check_order,
    smoothed,
    win_probability,
)
from adb_core.preference.exact import (
    CountError,
    at_least,
    exact_interval,
    exact_test,
    power,
    probabilities,
    votes_needed,
)
from adb_core.preference.resampling import student_quantile, two_way_bootstrap

# ---------------------------------------------------------------- exact counts


@pytest.mark.parametrize(
    "wanted, votes", [(0.6, 199), (0.65, 90), (0.7, 49), (0.8, 20), (0.4, 199)]
)
def test_how_many_votes_it_takes(wanted, votes):
    assert votes_needed(wanted) == votes
    assert power(votes, wanted) >= 0.8 > power(votes - 1, wanted)


def test_power_falls_between_its_jumps():
    assert power(200, 0.6) < 0.8 < power(199, 0.6)
    assert power(5, 0.9) == 0.0  # five votes are never significant: 2 / 32 > 0.05


def test_what_13_of_20_means():
    low, high = exact_interval(13, 20)
    assert (round(100 * low), round(100 * high)) == (41, 85)
    assert exact_test(13, 20) == pytest.approx(0.263, abs=5e-4)


@pytest.mark.parametrize("hits, count", [(0, 7), (7, 7), (13, 20), (1, 400), (250, 400)])
def test_intervals_and_tests_equal_scipys(hits, count):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(hits, count)
    assert exact_interval(hits, count) == pytest.approx(tuple(theirs.proportion_ci()), abs=1e-9)
    assert exact_test(hits, count) == pytest.approx(theirs.pvalue, rel=1e-9)
    assert at_least(hits, count, 0.3) == pytest.approx(stats.binom.sf(hits - 1, count, 0.3))


def test_the_exact_interval_covers_at_least_as_often_as_it_says():
    for true in (0.1, 0.37, 0.5, 0.9):
        chances = probabilities(31, true)
        ends = [exact_interval(k, 31) for k in range(32)]
        covered = sum(
            c for c, (low, high) in zip(chances, ends, strict=True) if low <= true <= high
        )
        assert 0.95 <= covered <= 1
    assert exact_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: exact_interval(3, 2),
        lambda: exact_test(-1, 2),
        lambda: votes_needed(0.5),
        lambda: votes_needed(1.2),
        lambda: votes_needed(0.6, alpha=0),
    ],
)
def test_impossible_counts_are_refused(call):
    with pytest.raises(CountError, match="[.:]"):
        call()


# ---------------------------------------------------------------- Bradley-Terry


def test_bradley_terry_equals_choix():
    choix = pytest.importorskip("choix")
    wins = np.random.default_rng(0).integers(1, 20, (5, 5)).astype(float)
    np.fill_diagonal(wins, 0)
    outcomes = [(i, j) for i in range(5) for j in range(5) for _ in range(int(wins[i, j]))]
    theirs = choix.ilsr_pairwise(5, outcomes)
    assert bradley_terry(wins) == pytest.approx(theirs - theirs.mean(), abs=1e-6)


def test_two_recipes_have_the_logit_of_their_share():
    strengths = bradley_terry(np.array([[0, 30], [10, 0]]))
    assert strengths[0] - strengths[1] == pytest.approx(math.log(3))
    assert win_probability(strengths)[0, 1] == pytest.approx(0.75)


def test_many_tables_at_once_equal_each_alone():
    wins = np.random.default_rng(1).integers(1, 9, (7, 4, 4)).astype(float)
    assert bradley_terry(wins) == pytest.approx(
        np.stack([bradley_terry(w) for w in wins]), abs=1e-7
    )


def test_who_never_lost_is_strong_but_not_infinitely():
    strengths = bradley_terry(smoothed(np.array([[0, 9], [0, 0]])))
    assert np.isfinite(strengths).all() and strengths[0] > strengths[1]


def test_recipes_that_never_met_have_no_order():
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[2, 3] = 5
    with pytest.raises(OrderError, match="compares a with c, d"):
        check_order(wins, ("a", "b", "c", "d"))
    wins[1, 2] = 1
    check_order(wins, ("a", "b", "c", "d"))


# ---------------------------------------------------------------- resampling


@pytest.mark.parametrize("freedom", [1, 2, 5, 30])
def test_student_equals_scipys(freedom):
    stats = pytest.importorskip("scipy.stats")
    assert student_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)


def panel_table(rng, strengths, raters=12, concepts=6, each=50, spread=0.3) -> np.ndarray:
    """(raters, concepts, k, k) wins of 600 votes; raters lean to recipes, and so do concepts."""
    k = len(strengths)
    lean = rng.normal(0, spread, (raters, 1, k)) + rng.normal(0, spread, (1, concepts, k))
    worth = strengths + lean  # (raters, concepts, k)
    table = np.zeros((raters, concepts, k, k))
    meetings = [(i, j) for i in range(k) for j in range(i + 1, k)]
    for rater in range(raters):
        for vote in range(each):
            at = rater, (vote + rater) % concepts
            i, j = meetings[(vote * 7 + rater) % len(meetings)]
            won = rng.random() < 1 / (1 + math.exp(worth[at][j] - worth[at][i]))
            table[at][(i, j) if won else (j, i)] += 1
    return table


def test_a_known_order_of_five_is_found_and_intervals_cover_it():
    """600 votes, 200 panels: the order is right, and intervals cover as often as they say."""
    truth = np.array([1.8, 0.9, 0.0, -0.9, -1.8])
    rng, covered, ordered = np.random.default_rng(0), [], 0
    for repeat in range(200):
        table = panel_table(rng, truth)
        assert table.sum() == 600
        found = two_way_bootstrap(
            table, lambda t: bradley_terry(smoothed(t), tolerance=1e-4), seed=repeat, resamples=100
        )
        covered += list((found.low <= truth) & (truth <= found.high))
        ordered += bool((np.diff(found.values) < 0).all())
    assert ordered >= 195
    assert 0.90 <= np.mean(covered) <= 0.99, np.mean(covered)


def test_without_raters_or_concepts_to_draw_there_is_no_interval():
    table = np.ones((1, 1, 2, 2))
    found = two_way_bootstrap(table, bradley_terry)
    assert found.freedom == 0 and np.isinf(found.low).all() and np.isinf(found.high).all()
    several = two_way_bootstrap(
        np.random.default_rng(0).integers(1, 9, (5, 1, 2, 2)), bradley_terry
    )
    assert several.freedom == 4 and (several.low < several.values).all()


def test_raters_that_differ_widen_the_interval():
    """The same 100 votes: from raters who all half agree, or from two opposite camps."""
    alike, camps = np.zeros((10, 1, 2, 2)), np.zeros((10, 1, 2, 2))
    alike[..., 0, 1] = alike[..., 1, 0] = 5
    camps[:5, ..., 0, 1] = camps[5:, ..., 1, 0] = 10

    def width(table):
        found = two_way_bootstrap(table, lambda t: bradley_terry(smoothed(t)))
        return float((found.high - found.low)[0])

    assert width(camps) > 3 * width(alike) + 0.1


# ---------------------------------------------------------------- agreement


def test_agreement_by_hand():
    items = {1: ["a", "a", "b"], 2: ["b", "b"], 3: ["a"]}
    assert pairwise_agreement(items) == (2, 4)
    # coincidences: item 1 gives aa 1, ab 1, ba 1, bb 0; item 2 gives bb 2; n = 5
    assert krippendorff_alpha(items) == pytest.approx(1 - 4 * 2 / (2 * 2 * 3))
    assert krippendorff_alpha({1: ["a", "a"], 2: ["b", "b"]}) == 1.0
    assert math.isnan(krippendorff_alpha({1: ["a", "a"]}))


def test_agreement_of_coin_throws_is_chance():
    rng = np.random.default_rng(0)
    items = {k: list(rng.choice(["a", "b", "same"], 4)) for k in range(2000)}
    assert abs(krippendorff_alpha(items)) < 0.03


def test_a_share_of_nothing_has_no_value():
    assert math.isnan(share(0, 0).value) and share(13, 20).value == 0.65
