"""Whether a difference is more than chance: paired over concepts, corrected for many comparisons.

A concept is what is drawn at random: its pictures, prompts and seeds are not independent, so their
mean is one number a concept, and one recipe is compared with another concept by concept. No torch.

Axes: n differences, s patterns of signs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from .intervals import Interval, MetricError

EXACT = 16  # up to so many differences every pattern of signs is tried: 65,536
RESAMPLES = 20_000  # patterns that are drawn where there are more
ALPHA = 0.05


def concept_means(values: Sequence[float], concepts: Sequence[str]) -> dict[str, float]:
    """One number a concept: the mean of its finite values; a concept without any is left out."""
    heaps: dict[str, list[float]] = {}
    for value, concept in zip(values, concepts, strict=True):
        if value is not None and np.isfinite(value):
            heaps.setdefault(concept, []).append(float(value))
    return {concept: float(np.mean(heap)) for concept, heap in heaps.items()}


def paired_differences(ours: Mapping[str, float], theirs: Mapping[str, float]) -> np.ndarray:
    """Ours minus theirs of the concepts that both have, (n,), by the concepts' names.

    Raises:
        MetricError: they have none in common.
    """
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise MetricError("nothing can be paired: the two sides have no concept in common")
    return np.array([ours[concept] - theirs[concept] for concept in both])


def least_p(count: int, exact: int = EXACT, resamples: int = RESAMPLES) -> float:
    """The smallest p that a two-sided test of ``count`` differences can give."""
    return 2.0 / 2**count if count <= exact else 1 / (resamples + 1)


@lru_cache(maxsize=4)
def _signs(count: int, seed: int, resamples: int) -> np.ndarray:
    """Patterns of signs (s, n): all of them where there are few differences, else random ones."""
    if count <= EXACT:
        return np.array(list(itertools.product((1.0, -1.0), repeat=count)))
    return np.random.default_rng(seed).choice((1.0, -1.0), size=(resamples, count))


def _finite(differences: Sequence[float] | np.ndarray) -> np.ndarray:
    data = np.asarray(differences, dtype=float)
    if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
        raise MetricError("a sign-flip test needs at least one finite difference")
    return data


def sign_flip_test(
    differences: Sequence[float] | np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> float:
    """Two-sided p of "the mean difference is 0" (Fisher 1935; exact up to 16 differences).

    If both sides are alike, every difference could as well have the other sign: p is the share of
    all patterns of signs whose mean is at least as far from 0 as the observed one. With n
    differences it cannot be below 2 / 2^n: of five concepts no fewer than 0.0625.

    Raises:
        MetricError: no differences, or one that is not a number.
    """
    data = _finite(differences)
    seen = abs(data.sum()) - 1e-12 * max(1.0, float(np.abs(data).sum()))  # rounding is no evidence
    reached = np.abs(_signs(len(data), seed, resamples) @ data) >= seen  # (s,)
    if len(data) <= EXACT:
        return float(reached.mean())
    # the observed pattern is one of those that could have come up, so p is never 0
    return float((reached.sum() + 1) / (resamples + 1))


def sign_flip_interval(
    differences: Sequence[float] | np.ndarray,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean difference, and every shift that :func:`sign_flip_test` does not reject.

    Its ends are means of subsets of the differences (Hartigan 1969, "typical values"): below the
    mean of all, a shift is as rare as there are patterns in which what keeps its sign, or what
    changes it, has a smaller mean. So it leaves out 0 exactly where the test rejects 0. Where the
    level asks for more than n differences can say (1 - level < 2 / 2^n), it has no ends: infinity.

    Raises:
        MetricError: as :func:`sign_flip_test`.
    """
    data = _finite(differences)
    kept = _signs(len(data), seed, resamples) > 0  # (s, n)
    count = kept.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        stays, changes = (kept @ data) / count, (~kept @ data) / (len(data) - count)  # (s,)
    every = (count == 0) | (count == len(data))  # all keep it, or all change it: never the rarer
    low = np.sort(np.where(every, -np.inf, np.minimum(stays, changes)))
    high = np.sort(np.where(every, np.inf, np.maximum(stays, changes)))[::-1]
    drawn = int(len(data) > EXACT)  # then the observed pattern counts as one more
    rank = math.floor((1 - level) * (len(kept) + drawn) + 1e-9) - drawn
    ends = (low[rank], high[rank]) if rank >= 0 else (-np.inf, np.inf)
    return Interval(float(data.mean()), float(ends[0]), float(ends[1]), len(data))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's corrected p values (Holm 1979), in the order given; at most 1.

    The smallest is multiplied by m, the next by m - 1, and none becomes smaller than one before.
    """
    p = np.asarray(p_values, dtype=float)
    order, m = np.argsort(p, kind="stable"), len(p)
    stepped = np.maximum.accumulate(p[order] * (m - np.arange(m)))
    corrected = np.empty(m)
    corrected[order] = np.minimum(1.0, stepped)
    return corrected


def holm_levels(p_values: Sequence[float], alpha: float = ALPHA) -> np.ndarray:
    """The level of the interval that goes with each of Holm's steps, in the order given.

    The smallest p is held against alpha / m, the next against alpha / (m - 1), and so on until one
    fails: there Holm stops, and all that are left are held against that same share of alpha. So an
    interval at its level leaves out 0 where Holm rejects, and only there. Equal p have equal
    levels.
    """
    p = np.asarray(p_values, dtype=float)
    m = len(p)
    before = np.searchsorted(np.sort(p), p, side="left")  # how many are smaller
    failed = before[holm(p.tolist()) > alpha]
    stop = int(failed.min()) if len(failed) else m
    return 1 - alpha / (m - np.minimum(before, stop))
