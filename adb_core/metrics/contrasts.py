"""Contrasts: one side against every other, in every score, corrected as ONE family of tests.

Who looks at a table looks at all of it, and the largest of eighty differences is large by chance
alone. So the tests of one table are one family, and Holm's correction counts all of them; a family
a score would let each score have its own 5 %. Means are over concepts, see ``significance``. No
torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from .intervals import Interval, bootstrap
from .significance import (
    ALPHA,
    holm,
    holm_levels,
    least_p,
    paired_differences,
    sign_flip_interval,
    sign_flip_test,
)

Scores = Mapping[str, Mapping[str, float]]  # score -> concept -> mean
Key = TypeVar("Key", bound=Hashable)


class Comparison(NamedTuple):
    """A paired difference over concepts, as one of a family of tests.

    Attributes:
        interval: mean and plain 95 % interval; p: of the test, two-sided.
        p_holm: the same after Holm's correction; corrected: the interval at Holm's level, which
            leaves out 0 where p_holm is at most 0.05. Its ends are infinite where so few concepts
            cannot carry that level.
    """

    interval: Interval
    p: float
    p_holm: float
    corrected: Interval


class Tested(Protocol):
    """What a family is made of."""

    @property
    def p(self) -> float:
        """Two-sided, of "there is no difference"."""

    def plain(self) -> Interval:
        """The mean with its 95 % interval, as if it were the only one."""

    def at(self, level: float) -> Interval:
        """The mean with the interval that goes with the test at that level."""


@dataclass(frozen=True)
class Paired:
    """The sign-flip test of paired differences (n,)."""

    differences: np.ndarray
    seed: int = 0

    @cached_property
    def p(self) -> float:
        return sign_flip_test(self.differences, self.seed)

    def plain(self) -> Interval:
        return bootstrap(self.differences.tolist(), self.seed)

    def at(self, level: float) -> Interval:
        return sign_flip_interval(self.differences, level, self.seed)


def one_family(tests: Mapping[Key, Tested], alpha: float = ALPHA) -> dict[Key, Comparison]:
    """All tests, corrected together; in the order given, which changes nothing."""
    p = [test.p for test in tests.values()]
    steps = zip(tests.items(), holm(p), holm_levels(p, alpha), strict=True)
    return {
        key: Comparison(test.plain(), test.p, float(corrected), test.at(float(level)))
        for (key, test), corrected, level in steps
    }


def compare(
    ours: Scores, others: Mapping[str, Scores], seed: int = 0
) -> dict[str, dict[str, Comparison]]:
    """One side less each other side in each score, all of them one family.

    Args:
        ours: score -> concept -> mean; others: name -> the same of another recipe.

    Returns:
        name -> score -> comparison. A pair without a concept in common is no test, and absent.
    """
    tests = {
        (name, score): Paired(paired_differences(mine, theirs[score]), seed)
        for name, theirs in others.items()
        for score, mine in ours.items()
        if mine.keys() & theirs.get(score, {}).keys()
    }
    found: dict[str, dict[str, Comparison]] = {}
    for (name, score), comparison in one_family(tests).items():
        found.setdefault(name, {})[score] = comparison
    return found


class Family(NamedTuple):
    """What a family of tests can find at all.

    Attributes:
        tests: how many; concepts: of the test with the most.
        least_p_holm: the smallest corrected p that so many concepts allow: above 0.05 nothing can
            be told from chance, whatever the differences are.
    """

    tests: int
    concepts: int
    least_p_holm: float

    @classmethod
    def of(cls, comparisons: Iterable[Comparison]) -> Family:
        """Of one family's comparisons."""
        counts = [comparison.interval.count for comparison in comparisons]
        return cls.sized(len(counts), max(counts, default=0))

    @classmethod
    def sized(cls, tests: int, concepts: int) -> Family:
        """Of so many tests over so many concepts."""
        return cls(tests, concepts, min(1.0, tests * least_p(concepts)) if tests else 1.0)
