"""What a count of votes says, exactly: intervals, a test, and how many votes one needs. No torch.

A vote is one of two pictures, so a count of votes is binomial. Nothing here uses the normal
approximation, which is wrong for the twenty votes of a small study.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..system.commands import InputError

MOST_VOTES = 20_000  # beyond it a study is not what is being planned


class CountError(InputError):
    """Counts or shares that cannot be; one line that says why."""


def _check(hits: int, count: int) -> None:
    if not 0 <= hits <= count:
        raise CountError(f"{hits} of {count} votes cannot be: give 0 <= votes <= all votes")


def probabilities(count: int, share: float) -> np.ndarray:
    """(count + 1,) probability of 0, 1, ... ``count`` votes if each falls with that share."""
    if share <= 0 or share >= 1:
        sure = np.zeros(count + 1)
        sure[count if share >= 1 else 0] = 1
        return sure
    k = np.arange(count + 1)
    # log of n! from the logs of 1 .. n: exact to rounding, and no overflow
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    ways = factorial[count] - factorial - factorial[::-1]
    return np.exp(ways + k * math.log(share) + (count - k) * math.log1p(-share))


def at_least(hits: int, count: int, share: float) -> float:
    """P(X >= hits): the binomial upper tail."""
    return float(min(1.0, probabilities(count, share)[hits:].sum()))


def crossing(function: Callable[[float], float], target: float) -> float:
    """Where a function that rises on [0, 1] reaches ``target``, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2


def exact_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934); (0, 1) if nothing was counted.

    Its ends are the shares at which so many votes, or so few, would be just as rare as allowed:
    13 of 20 is anything from 41 % to 85 %.

    Raises:
        CountError: more hits than votes, or fewer than none.
    """
    _check(hits, count)
    tail = (1 - level) / 2
    low = crossing(lambda p: at_least(hits, count, p), tail) if hits else 0.0
    high = crossing(lambda p: at_least(hits + 1, count, p), 1 - tail) if hits < count else 1.0
    return low, high


def exact_test(hits: int, count: int) -> float:
    """Two-sided p of ``hits`` or something at least as lopsided, if both were as good: share 1/2.

    Raises:
        CountError: as :func:`exact_interval`.
    """
    _check(hits, count)
    return min(1.0, 2 * at_least(max(hits, count - hits), count, 0.5))


def power(count: int, share: float, alpha: float = 0.05) -> float:
    """Probability that ``count`` votes are significant (:func:`exact_test`) at a true share."""
    upper = np.cumsum(probabilities(count, 0.5)[::-1])[::-1]  # (count + 1,) P(X >= k) under 1/2
    wins = int(np.count_nonzero(2 * upper > alpha))  # the fewest votes that are significant
    chances = probabilities(count, share)
    return float(chances[wins:].sum() + chances[: count + 1 - wins].sum()) if wins <= count else 0.0


def votes_needed(share: float, alpha: float = 0.05, wanted: float = 0.8) -> int:
    """The smallest number of votes whose :func:`power` reaches ``wanted``.

    The power of an exact test rises in small jumps and falls between them, so that a few more
    votes may have a little less of it: 60 % needs 199, and 200 just miss the mark.

    Raises:
        CountError: a share that no study can tell from one half, or that is no share.
    """
    if not (0 < alpha < 1 and 0 < wanted < 1):
        raise CountError(f"alpha {alpha} and power {wanted} must lie between 0 and 1")
    if not 0 <= share <= 1 or abs(share - 0.5) < 0.01:
        raise CountError(
            f"a share of {share} cannot be told from 0.5 by a study: use one from 0 to 0.49, or "
            "from 0.51 to 1"
        )
    for count in range(1, MOST_VOTES):
        if power(count, share, alpha) >= wanted:
            return count
    raise CountError(f"a share of {share} would need over {MOST_VOTES} votes")
