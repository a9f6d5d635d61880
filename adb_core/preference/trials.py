"""What one rater sees, in which order and on which side: a pure function of study and name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..system.fingerprints import fingerprint
from .study import Pair, Study

MAIN, REPEAT, CATCH = "main", "repeat", "catch"


@dataclass(frozen=True)
class Trial:
    """Two pictures side by side.

    Attributes:
        number: from 0; kind: main, repeat (a pair seen before, sides swapped), or catch (one
            picture twice); left, right: file names.
    """

    number: int
    kind: str
    pair: Pair
    left: str
    right: str


def generator(*words: str | int) -> np.random.Generator:
    """A generator of random numbers of these words: the same on every machine."""
    digest = fingerprint([str(word) for word in words], b"\0")
    return np.random.default_rng(int(digest[:16], 16))


def trials_of(study: Study, rater: str) -> tuple[Trial, ...]:
    """All trials of one rater, in order.

    Every pair comes once, in a random order; first pictures are on the left in half of them.
    Repeats are of pairs from the first third (in a small study, the first half; there are no more
    than that) and come in the second half, so that nobody answers from memory of a moment ago.
    Catches come anywhere but first.
    """
    rng = generator(study.id, study.design.seed, rater)
    count = len(study.pairs)
    order = rng.permutation(count)
    first_left = rng.permutation(np.arange(count) % 2 == int(rng.integers(2)))  # balanced sides
    shown = [(MAIN, study.pairs[k], bool(side)) for k, side in zip(order, first_left, strict=True)]
    early, late = shown[: (count + 1) // 2], shown[(count + 1) // 2 :]
    from_early = early[: max(study.design.repeats, count // 3)]
    chosen = rng.permutation(len(from_early))[: study.design.repeats]
    repeats = [(REPEAT, from_early[k][1], not from_early[k][2]) for k in chosen]
    late = [(late + repeats)[k] for k in rng.permutation(len(late) + len(repeats))]
    shown = early + late
    for k in rng.integers(count, size=study.design.catches):
        place = int(rng.integers(1, len(shown) + 1))
        shown.insert(place, (CATCH, study.pairs[int(k)], bool(rng.integers(2))))
    return tuple(_trial(number, *what) for number, what in enumerate(shown))


def _trial(number: int, kind: str, pair: Pair, first_left: bool) -> Trial:
    left, right = (pair.a, pair.b) if first_left else (pair.b, pair.a)
    return Trial(number, kind, pair, left, left if kind == CATCH else right)
