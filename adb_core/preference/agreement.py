"""Whether raters agree with one another, and with themselves. No torch.

An answer is any label; what is compared are the answers to one item, which is one question on
one pair of pictures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .exact import exact_interval


class Share(NamedTuple):
    """``hits`` of ``count``, with the exact 95 % interval of the share."""

    hits: int
    count: int  # type: ignore[assignment]  # hides tuple's method, which no share needs
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share; not a number if nothing was counted."""
        return self.hits / self.count if self.count else float("nan")


def share(hits: int, count: int) -> Share:
    """A share with its exact interval."""
    return Share(hits, count, *exact_interval(hits, count))


def pairwise_agreement(items: Mapping[Any, Sequence[str]]) -> tuple[int, int]:
    """How many of all pairs of raters gave the same answer to an item that both answered.

    Returns:
        (agreeing pairs, pairs); pairs of one rater are no independent votes, so there is no
        interval.
    """
    same = every = 0
    for answers in items.values():
        same += sum(n * (n - 1) // 2 for n in Counter(answers).values())
        every += len(answers) * (len(answers) - 1) // 2
    return same, every


def krippendorff_alpha(items: Mapping[Any, Sequence[str]]) -> float:
    """Agreement beyond chance (Krippendorff 2004, nominal data): 1 is perfect, 0 is chance.

    1 - observed / expected disagreement, from the coincidences of answers within items; an item
    with one answer says nothing, and different items may have different raters.

    Returns:
        not a number, if no item has two answers or all answers are the same.
    """
    coincidences: defaultdict[tuple[str, str], float] = defaultdict(float)
    for answers in items.values():
        counts, m = Counter(answers), len(answers)
        if m < 2:
            continue
        for one, n in counts.items():
            for other, more in counts.items():
                coincidences[one, other] += n * (more - (one == other)) / (m - 1)
    totals: defaultdict[str, float] = defaultdict(float)
    for (one, _), weight in coincidences.items():
        totals[one] += weight
    every = sum(totals.values())
    expected = sum(a * b for x, a in totals.items() for y, b in totals.items() if x != y)
    if not expected:
        return float("nan")
    observed = sum(weight for (one, other), weight in coincidences.items() if one != other)
    return 1 - (every - 1) * observed / expected
