"""Checks of notebook 14."""

from __future__ import annotations

import numpy as np

from . import differs


def check_1(total_variation) -> str | None:
    ours, theirs = np.array([6, 2, 0, 2]), np.array([10, 20, 10, 0])
    got = total_variation(ours, theirs)
    if got is not None and got is not ...:
        for sentence, value in {
            "those are differences of counts: divide each by its sum first": 17.0,
            "that is twice as much: two lists without a word in common should be 1 apart": 1.1,
            "signs cancel: take absolute differences": 0.0,
        }.items():
            if differs(got, value) is None:
                return sentence
    return differs(got, 0.55, "the total variation")


def check_2(copied) -> str | None:
    pictures, others = np.array([3.0, 9.0, 12.0, 7.0, 20.0]), np.array([8.0, 11.0, 15.0])
    got = copied(pictures, others)
    if got is not None and got is not ...:
        for sentence, value in {
            "that is a count: divide by how many pictures there are": 2,
            "the scale is the nearest of the others, not their mean": 3 / 5,
            "those are farther than the nearest of the others: count the nearer ones": 3 / 5,
        }.items():
            if differs(got, value) is None:
                return sentence
    return differs(got, 2 / 5, "the share")


def check_3(worth) -> str | None:
    for marked, hits, alarms in ((1e-5, 1.0, 1e-4), (0.5, 0.8, 0.1), (0.2, 0.6, 0.0)):
        got = worth(marked, hits, alarms)
        if got is not None and got is not ... and differs(got, hits) is None and alarms:
            return "that is how many of the marked ones are found: most pictures are not marked"
        right = marked * hits / (marked * hits + (1 - marked) * alarms)
        if wrong := differs(got, right, "the probability"):
            return wrong
    return None
