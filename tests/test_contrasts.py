"""One family of tests: Holm's properties on random tables, and what a family can find at all."""

import numpy as np
import pytest

from adb_core.metrics import Family, compare, holm, holm_levels
from adb_core.metrics.contrasts import Paired, one_family

CONCEPTS = [f"c{k}" for k in range(12)]


def side(values) -> dict[str, float]:
    return dict(zip(CONCEPTS, map(float, values), strict=False))


def table(rng: np.random.Generator, recipes: int, scores: int, count: int = 12):
    """(ours, others): random differences, some of them none and some of them large."""
    names = [f"s{k}" for k in range(scores)]
    ours = {name: side(rng.normal(0, 1, count)) for name in names}

    def other(mine: dict[str, float]) -> dict[str, float]:
        lift = rng.choice([0, 3])
        return {concept: value - float(rng.normal(lift, 1)) for concept, value in mine.items()}

    others = {f"r{k}": {n: other(mine) for n, mine in ours.items()} for k in range(recipes)}
    return ours, others


def flat(found) -> dict:
    return {(recipe, score): c for recipe, row in found.items() for score, c in row.items()}


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_monotone_bounded_and_free_of_order(seed):
    rng = np.random.default_rng(seed)
    p = rng.choice([0.001, 0.004, 0.01, 0.02, 0.3, 0.9, 1.0], size=rng.integers(1, 30))
    corrected, levels = holm(p), holm_levels(p)
    assert (corrected >= p).all() and (corrected <= np.minimum(1, len(p) * p) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all() and (np.diff(levels[order]) <= 0).all()
    shuffled = rng.permutation(len(p))
    np.testing.assert_allclose(holm(p[shuffled]), corrected[shuffled])
    np.testing.assert_allclose(holm_levels(p[shuffled]), levels[shuffled])
    # what is rejected is below its level's share, and nothing else is
    assert ((corrected <= 0.05) == (p <= 1 - levels + 1e-12)).all()
    # a smaller p never makes another one's corrected p larger
    smaller = p.copy()
    smaller[rng.integers(len(p))] /= 2
    assert (holm(smaller) <= corrected + 1e-12).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_corrected_interval_leaves_out_zero_where_holm_rejects(seed):
    ours, others = table(np.random.default_rng(seed), 4, 3)
    found = flat(compare(ours, others))
    assert len(found) == 12 and {c.interval.count for c in found.values()} == {12}
    rejected = {key for key, c in found.items() if c.p_holm <= 0.05}
    assert 0 < len(rejected) < 12
    for key, c in found.items():
        assert (key in rejected) == (not c.corrected.low <= 0 <= c.corrected.high)
        assert c.corrected.mean == c.interval.mean and c.p <= c.p_holm


def test_a_whole_table_is_one_family():
    """As many tests as scores times recipes are counted, wherever they stand in it."""
    ours, others = table(np.random.default_rng(0), 3, 2)
    found = flat(compare(ours, others))
    np.testing.assert_allclose(
        [c.p_holm for c in found.values()], holm([c.p for c in found.values()])
    )
    turned = {name: dict(reversed(row.items())) for name, row in reversed(others.items())}
    assert flat(compare(dict(reversed(ours.items())), turned)) == found
    alone = flat(compare(ours, {"r0": others["r0"]}))
    assert all(alone[key].p_holm <= found[key].p_holm for key in alone)


def test_a_family_by_hand():
    ours = {"joint": side(np.arange(10) / 100 + 0.3), "text": side(np.zeros(10))}
    others = {"worse": {"joint": side(np.zeros(10)), "text": side(np.zeros(10))}}
    found = compare(ours, others)["worse"]
    joint, text = found["joint"], found["text"]
    assert joint.interval.low > 0.3 and joint.p == 2 / 2**10 and joint.p_holm == 2 * joint.p
    assert joint.corrected.low < joint.interval.low and joint.corrected.high > joint.interval.high
    assert text.p == text.p_holm == 1.0 and text.interval[:3] == (0.0, 0.0, 0.0)


def test_what_cannot_be_paired_is_no_test():
    ours = {"joint": {"a": 1.0, "b": 2.0}, "iou": {"a": 1.0}}
    others = {"one": {"joint": {"b": 1.0}}, "none": {"joint": {"z": 1.0}, "iou": {}}}
    found = compare(ours, others)
    assert list(found) == ["one"] and list(found["one"]) == ["joint"]
    assert found["one"]["joint"].p_holm == 1.0  # of one test: the others were none
    assert compare(ours, {}) == {} and one_family({}) == {}


def test_a_family_says_what_it_could_find_at_all():
    found = compare({"s": side(range(5))}, {f"r{k}": {"s": side(np.zeros(5))} for k in range(4)})
    assert Family.of(flat(found).values()) == (4, 5, 4 * 2 / 2**5)
    assert Family.of([]) == (0, 0, 1.0) and Family.sized(84, 12).least_p_holm < 0.05
    assert Family.sized(84, 6).least_p_holm == 1.0
    assert Family.sized(1, 20).least_p_holm == 1 / 20_001  # patterns are drawn then
    assert one_family({"x": Paired(np.ones(20))})["x"].p == 1 / 20_001
