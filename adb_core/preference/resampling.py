"""How sure a number from votes is, when raters and concepts are both samples. No torch.

Votes of one rater resemble each other, and so do votes on one concept: neither are independent.
Drawing votes anew, one by one, would make every interval too narrow.

Axes: r raters, c concepts, k contestants, n resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .exact import crossing


class Estimates(NamedTuple):
    """(m,) values with the ends of their intervals; ``freedom``: degrees, 0 if unknown."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    freedom: int


def two_way_bootstrap(
    table: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int = 0,
    resamples: int = 400,
    level: float = 0.95,
) -> Estimates:
    """A statistic with an interval that allows for other raters and other concepts.

    Whole raters are drawn anew, then whole concepts, then whole cells of both; the variances of
    the three are put together as V = V_raters + V_concepts - V_cells (Cameron, Gelbach and Miller
    2011), because the noise of a single vote is in all three. Drawing raters and concepts at the
    same time would count that noise three times (Owen 2007). The interval is the value, plus and
    minus Student's quantile for the smaller of the two numbers.

    Args:
        table: (r, c, k, k) wins of the row's contestant over the column's by one rater on one
            concept.
        statistic: of tables (..., k, k), to (..., m).

    Returns:
        with a single rater or concept the variance over the other alone; with one of each, no
        interval: (-inf, inf).
    """
    r, c = table.shape[:2]
    rng = np.random.default_rng(seed)
    cells = table.reshape(r * c, *table.shape[2:])
    cells = cells[cells.any((1, 2))]  # where somebody has voted
    clusters = [table.sum(1), table.sum(0), cells]  # (r, k, k), (c, k, k), (r c or fewer, k, k)
    by_rater, by_concept, by_cell = (_variance(g, statistic, rng, resamples) for g in clusters)
    values = statistic(table.sum((0, 1)))
    both = by_rater + by_concept - by_cell
    variance = np.maximum(both, np.maximum(by_rater, by_concept))  # a difference may be too small
    sizes = [n for n in (r, c) if n > 1]
    if not sizes:
        endless = np.full_like(values, np.inf)
        return Estimates(values, -endless, endless, 0)
    freedom = min(sizes) - 1
    half = student_quantile((1 + level) / 2, freedom) * np.sqrt(variance)
    return Estimates(values, values - half, values + half, freedom)


def _variance(
    groups: np.ndarray, statistic: Callable, rng: np.random.Generator, resamples: int
) -> np.ndarray:
    """(m,) variance of the statistic over draws of whole groups (g, k, k); 0 for a single one."""
    g = len(groups)
    if g < 2:
        return np.zeros_like(statistic(groups.sum(0)))
    weights = rng.multinomial(g, np.full(g, 1 / g), size=resamples)  # (n, g)
    drawn = np.tensordot(weights, groups, 1)  # (n, k, k)
    return statistic(drawn).var(0, ddof=1) * g / (g - 1)  # draws vary less than groups do


def student_quantile(level: float, freedom: int) -> float:
    """The quantile of Student's t, for levels above one half, by bisection on its integral."""
    # t = tan(angle) sqrt(freedom) turns the density into cos(angle) ** (freedom - 1)
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    mass = 0.5 + 0.5 * mass / mass[-1]
    angle = crossing(lambda x: float(np.interp(x * math.pi / 2, angles, mass)), level)
    return math.tan(angle * math.pi / 2) * math.sqrt(freedom)
