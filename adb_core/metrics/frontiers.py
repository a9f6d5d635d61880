"""Frontiers: what identity a recipe reaches at what text, whenever one stops its training.

A recipe is trained once, long, and measured at several moments; each gives a point (text,
identity). Which moment a preset chose does not matter then: recipes are compared by the whole
curve. Everything begins at the base model, a recipe after no step. No torch.

Axes: m moments, n concepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .intervals import Interval, MetricError, bootstrap


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


def between(
    ours: Mapping[str, Mapping[int, tuple[float, float]]],
    theirs: Mapping[str, Mapping[int, tuple[float, float]]],
    low: float,
    high: float,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """How far one frontier lies above another, with intervals over concepts.

    Args:
        ours, theirs: as of :func:`moments`; the concepts that both have count.
        low, high: range of text; ``high`` is also the matched text, as the base model's less 3
            points.

    Returns:
        "area", the mean difference of identity over the range, and "matched", that at ``high``
        (identity 0 where a recipe does not reach it). Whole concepts are drawn; the mean curves of
        each draw give one difference.

    Raises:
        MetricError: no concept in common, or unequal steps.
    """
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise MetricError("these frontiers have no concept in common")
    stacks = [_stack({c: side[c] for c in both}) for side in (ours, theirs)]  # (n, m, 2) each
    draws = np.random.default_rng(seed).integers(len(both), size=(resamples, len(both)))
    found: dict[str, list[float]] = {"area": [], "matched": []}
    for drawn in [np.arange(len(both)), *draws]:  # the first is the sample itself
        means = [stack[drawn].mean(0) for stack in stacks]  # (m, 2) each: text, identity
        a, b = ((mean[:, 0].tolist(), mean[:, 1].tolist()) for mean in means)
        areas = [area(text, identity, low, high, cells=64) for text, identity in (a, b)]
        found["area"].append(areas[0] - areas[1])
        at = [np.nan_to_num(identity_at(text, identity, high)) for text, identity in (a, b)]
        found["matched"].append(float(at[0] - at[1]))
    intervals = {}
    for name, (mean, *drawn) in found.items():
        lowest, highest = np.quantile(drawn, [0.025, 0.975])
        intervals[name] = Interval(mean, float(lowest), float(highest), len(both))
    return intervals


def _stack(curves: Mapping[str, Mapping[int, tuple[float, float]]]) -> np.ndarray:
    """(n, m, 2): concept, moment, text and identity."""
    steps = _steps(curves)
    return np.array([[curve[step] for step in steps] for curve in curves.values()], dtype=float)
