"""Whether a difference is more than chance: paired over concepts, corrected for many comparisons.

A concept is what is drawn at random: its pictures, prompts and seeds are not independent, so their
mean is one number a concept, and one recipe is compared with another concept by concept. No torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .intervals import Interval, MetricError, bootstrap

EXACT = 16  # up to so many differences every pattern of signs is tried: 65,536


class Comparison(NamedTuple):
    """A paired difference over concepts.

    Attributes:
        interval: mean and plain 95 % interval; p: of the sign-flip test, two-sided.
        p_holm: the same after Holm's correction; corrected: the interval at Holm's level.
    """

    interval: Interval
    p: float
    p_holm: float
    corrected: Interval


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


def sign_flip_test(differences: Sequence[float], seed: int = 0, resamples: int = 20_000) -> float:
    """Two-sided p of "the mean difference is 0" (Fisher 1935; exact up to 16 differences).

    If both sides are alike, every difference could as well have the other sign: p is the share of
    all patterns of signs whose mean is at least as far from 0 as the observed one. With n
    differences it cannot be below 2 / 2^n: of five concepts no fewer than 0.0625.

    Raises:
        MetricError: no differences, or one that is not a number.
    """
    data = np.asarray(differences, dtype=float)
    if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
        raise MetricError("a sign-flip test needs at least one finite difference")
    seen = abs(data.sum()) - 1e-12 * max(1.0, float(np.abs(data).sum()))  # rounding is no evidence
    if len(data) <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(data))))  # (2^n, n)
        return float((np.abs(signs @ data) >= seen).mean())
    signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(resamples, len(data)))
    # the observed pattern is one of those that could have come up, so p is never 0
    return float(((np.abs(signs @ data) >= seen).sum() + 1) / (resamples + 1))


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


def holm_levels(p_values: Sequence[float], alpha: float = 0.05) -> np.ndarray:
    """The level of each interval that goes with Holm's steps: 1 - alpha / (m - rank), rank from 0.

    The comparison with the smallest p gets the widest interval, 1 - alpha / m.
    """
    p = np.asarray(p_values, dtype=float)
    ranks = np.empty(len(p))
    ranks[np.argsort(p, kind="stable")] = np.arange(len(p))
    return 1 - alpha / (len(p) - ranks)


def compare(
    ours: Mapping[str, float], others: Mapping[str, Mapping[str, float]], seed: int = 0
) -> dict[str, Comparison]:
    """One side against several others, as one family of comparisons.

    Args:
        ours: concept -> mean; others: name -> the same of another recipe.

    Raises:
        MetricError: another one that has no concept in common with ours.
    """
    apart = {name: paired_differences(ours, theirs) for name, theirs in others.items()}
    p = [sign_flip_test(differences.tolist(), seed) for differences in apart.values()]
    levels, corrected = holm_levels(p), holm(p)
    return {
        name: Comparison(
            bootstrap(differences.tolist(), seed),
            p[k],
            float(corrected[k]),
            bootstrap(differences.tolist(), seed, level=float(levels[k])),
        )
        for k, (name, differences) in enumerate(apart.items())
    }
