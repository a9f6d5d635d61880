"""Frontiers: what identity a recipe reaches at what text, whenever one stops its training.

A recipe is trained once, long, and measured at several moments; each gives a point (text,
identity). Which moment a preset chose does not matter then: recipes are compared by the whole
curve. Everything begins at the base model, a recipe after no step. No torch.

Axes: m moments, n concepts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .contrasts import Comparison, one_family
from .intervals import Interval, MetricError, bootstrap
from .significance import least_p

EXACT_SWAPS = 12  # concepts of which every pattern of swaps is tried: 2,048 and their opposites
MEASURES = ("area", "matched")


class Moment(NamedTuple):
    """One moment of a curve, over concepts: after how many steps, and how good then."""

    step: int
    text: Interval
    identity: Interval


def envelope(text: Sequence[float], identity: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The points that no other beats in both scores, by rising text: (k,) each.

    Raises:
        MetricError: no points, not as many of both, or one that is not a number.
    """
    x, y = np.asarray(text, dtype=float), np.asarray(identity, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or not len(x) or not np.isfinite([x, y]).all():
        raise MetricError("a frontier needs one finite text and identity for each moment")
    order = np.lexsort((-y, -x))  # by falling text, at equal text the higher identity first
    kept, best = [], -np.inf
    for k in order:
        if y[k] > best:
            kept.append(k)
            best = y[k]
    kept.reverse()
    return x[kept], y[kept]


def identity_at(text: Sequence[float], identity: Sequence[float], wanted: np.ndarray | float):
    """The identity that a recipe reaches where its text is at least ``wanted``.

    Between two moments the line is meant: who draws with the one or the other by lot gets it on
    average. Below the lowest text of the envelope the highest identity is to be had; above the
    highest text nothing is: NaN.

    Returns:
        Of the shape of ``wanted``.
    """
    x, y = envelope(text, identity)
    values = np.interp(wanted, x, y)
    return np.where(np.asarray(wanted) > x[-1] + 1e-12, np.nan, values)


def area(
    text: Sequence[float], identity: Sequence[float], low: float, high: float, cells: int = 512
) -> float:
    """Mean of :func:`identity_at` for texts from ``low`` to ``high``; out of reach counts as 0.

    Raises:
        MetricError: ``low`` is not below ``high``.
    """
    if not low < high:
        raise MetricError(f"an area needs a range of text, got {low:g} to {high:g}")
    wanted = low + (np.arange(cells) + 0.5) * (high - low) / cells
    return float(np.nan_to_num(identity_at(text, identity, wanted)).mean())


def moments(curves: Mapping[str, Mapping[int, tuple[float, float]]], seed: int = 0) -> list[Moment]:
    """A recipe's curve over concepts, with intervals.

    Args:
        curves: concept -> step -> (text, identity), the same steps for every concept.

    Raises:
        MetricError: no concept, or unequal steps.
    """
    steps = _steps(curves)
    found = []
    for step in steps:
        pairs = np.array([curve[step] for curve in curves.values()])  # (n, 2)
        text, identity = (bootstrap(column.tolist(), seed) for column in pairs.T)
        found.append(Moment(step, text, identity))
    return found


def _steps(curves: Mapping[str, Mapping[int, tuple[float, float]]]) -> list[int]:
    every = {tuple(sorted(curve)) for curve in curves.values()}
    if len(every) != 1:
        raise MetricError("a curve needs concepts that were measured after the same steps")
    return list(every.pop())


Curves = Mapping[str, Mapping[int, tuple[float, float]]]  # concept -> step -> (text, identity)


def between(
    ours: Curves,
    others: Mapping[str, Curves],
    low: float,
    high: float,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Comparison]]:
    """How far one frontier lies above each of several others, over concepts.

    Two measures: "area", the mean difference of identity over the range of text, and "matched",
    that at ``high`` (identity 0 where a recipe does not reach it). Both measures against all others
    are one family of tests, corrected by Holm.

    Args:
        ours: as of :func:`moments`, where a step may also be a number of the moment; others: name
            -> the same, with as many moments. Of each pair the concepts that both have count.
        low, high: range of text; ``high`` is also the matched text, as the base model's less 3
            points.

    Returns:
        name -> measure -> comparison. Intervals draw whole concepts, and the mean curves of each
        draw give one difference. The test swaps the two recipes' whole curves concept by concept:
        if they are alike, each swap could as well have been seen.

    Raises:
        MetricError: no concept in common, unequal steps of one recipe, or another number of
            moments than ours: a recipe that was looked at more often has more chances, and its
            curve cannot take ours' place.
    """
    tests: dict[tuple[str, str], _Apart] = {}
    for name, theirs in others.items():
        apart = _Swapped.of(name, ours, theirs, (low, high), resamples, seed)
        tests |= {(name, measure): _Apart(apart, k) for k, measure in enumerate(MEASURES)}
    found: dict[str, dict[str, Comparison]] = {name: {} for name in others}
    for (name, measure), comparison in one_family(tests).items():
        found[name][measure] = comparison
    return found


@dataclass(frozen=True)
class _Swapped:
    """Differences of two frontiers in both measures: (2,), of n draws (n, 2), and their p (2,)."""

    seen: np.ndarray
    drawn: np.ndarray
    p: list[float]
    count: int

    @classmethod
    def of(
        cls,
        name: str,
        ours: Curves,
        theirs: Curves,
        span: tuple[float, float],
        resamples: int,
        seed: int,
    ) -> _Swapped:
        both = sorted(ours.keys() & theirs.keys())
        if not both:
            raise MetricError(f"the frontier of {name!r} has no concept in common with ours")
        n = len(both)
        one, other = (_stack({c: side[c] for c in both}) for side in (ours, theirs))  # (n, m, 2)
        if one.shape != other.shape:
            raise MetricError(
                f"{name!r} was measured {other.shape[1]} times on its way and ours "
                f"{one.shape[1]} times: curves are compared that have as many moments"
            )

        def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.subtract(*(_measures(stack.mean(0), *span) for stack in (a, b)))

        rng, seen = np.random.default_rng(seed), apart(one, other)
        draws = rng.integers(n, size=(resamples, n))
        drawn = np.array([apart(one[d], other[d]) for d in draws]).reshape(-1, 2)
        swaps = _swaps(n, resamples, rng)[:, :, None, None]
        made = (apart(np.where(s, other, one), np.where(s, one, other)) for s in swaps)
        null = np.array(list(made))  # (swaps, 2)
        reached = np.abs(null) >= np.abs(seen) - 1e-9
        rare = reached.mean(0) if n <= EXACT_SWAPS else (reached.sum(0) + 1) / (len(null) + 1)
        return cls(seen, drawn, rare.tolist(), n)


@dataclass(frozen=True)
class _Apart:
    """One measure of it, as one of a family of tests."""

    swapped: _Swapped
    measure: int

    @property
    def p(self) -> float:
        return self.swapped.p[self.measure]

    def plain(self) -> Interval:
        tail, drawn = 0.025, self.swapped.drawn[:, self.measure]
        return self._interval(*np.quantile(drawn, [tail, 1 - tail]))

    def at(self, level: float) -> Interval:
        """By quantiles of the draws; without ends where no test of so few could reach the level."""
        share, drawn = 1 - level, self.swapped.drawn[:, self.measure]
        if share < least_p(self.swapped.count, EXACT_SWAPS, len(drawn)):
            return self._interval(-np.inf, np.inf)
        return self._interval(*np.quantile(drawn, [share / 2, 1 - share / 2]))

    def _interval(self, low: float, high: float) -> Interval:
        seen = float(self.swapped.seen[self.measure])
        return Interval(seen, float(low), float(high), self.swapped.count)


def _measures(mean: np.ndarray, low: float, high: float) -> np.ndarray:
    """(2,): area, and identity at ``high``, of a mean curve (m, 2)."""
    text, identity = mean[:, 0].tolist(), mean[:, 1].tolist()
    at = float(np.nan_to_num(identity_at(text, identity, high)))
    return np.array([area(text, identity, low, high, cells=64), at])


def _swaps(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Which concepts change sides, bool (k, n): every pattern of few concepts, else random ones.

    Of two opposite patterns one is enough, for the other's differences are its own less their sign.
    """
    if n <= EXACT_SWAPS:
        return np.array([(False, *rest) for rest in itertools.product((False, True), repeat=n - 1)])
    return rng.random((resamples, n)) < 0.5


def matched(
    curves: Mapping[str, Mapping[int, tuple[float, float]]],
    text: float,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The identity of a recipe's mean curve where its text is at least ``text``; 0 out of reach.

    Args:
        curves: as of :func:`moments`. The interval is over concepts, drawn whole.
    """
    stack = _stack(curves)  # (n, m, 2)
    n = len(stack)
    draws = np.random.default_rng(seed).integers(n, size=(resamples, n))
    means = [stack[drawn].mean(0) for drawn in (np.arange(n), *draws)]
    values = [
        float(np.nan_to_num(identity_at(mean[:, 0].tolist(), mean[:, 1].tolist(), text)))
        for mean in means
    ]
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Interval(values[0], float(low), float(high), n)


def _stack(curves: Mapping[str, Mapping[int, tuple[float, float]]]) -> np.ndarray:
    """(n, m, 2): concept, moment, text and identity."""
    steps = _steps(curves)
    return np.array([[curve[step] for step in steps] for curve in curves.values()], dtype=float)
