"""How sure a number is: means, shares and differences with their intervals. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class MetricError(ValueError):
    """Numbers or pictures that cannot be measured; one line that says why."""


class Interval(NamedTuple):
    """A mean with its 95 % bootstrap interval, and how many values it is the mean of."""

    mean: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # hides tuple's method, which no interval needs


def bootstrap(
    values: Sequence[float],
    seed: int = 0,
    *,
    groups: Sequence | None = None,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean and percentile bootstrap interval (Efron 1979).

    Args:
        values: (n,) numbers, all finite.
        groups: (n,) labels. Values of one group (a concept, say) are not independent, so whole
            groups are drawn, not values; None draws values.

    Raises:
        MetricError: no values, one that is not a number, or not one label a value.
    """
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
        raise MetricError(
            f"a bootstrap needs at least one finite number in one row, got {data.tolist()!r:.80}"
        )
    if groups is not None and len(groups) != len(data):
        raise MetricError(f"{len(data)} values have {len(groups)} group labels: give one each")
    labels = np.arange(len(data)) if groups is None else np.asarray(groups)
    _, owner = np.unique(labels, return_inverse=True)
    sums, counts = np.bincount(owner, data), np.bincount(owner)  # (groups,)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)  # (resamples,)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(data.mean()), float(low), float(high), len(data))


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927); (0, 1) if nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    p, denominator = hits / count, 1 + z * z / count
    middle = (p + z * z / (2 * count)) / denominator
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / denominator
    return max(0.0, middle - half), min(1.0, middle + half)
