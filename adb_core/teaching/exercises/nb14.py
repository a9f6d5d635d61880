"""Checks of notebook 14, and the questions at its end."""

from __future__ import annotations

from math import erfc

import numpy as np

from ..quizzes import Question
from . import differs

QUIZ = (
    Question(
        "`adb inspect` finds nothing in a picture. What is known?",
        ("It is a photograph", "Nothing", "Somebody removed the metadata"),
        "Nothing",
        "Saving a file again is enough to lose them.",
    ),
    Question(
        "One false alarm in 10,000. Of a million pictures 10 are marked; 110 are found.",
        ("Nearly all are marked", "About 10 are", "None is"),
        "About 10 are",
        "A hundred alarms come from the 999,990 others: how rare the mark is counts as well.",
    ),
    Question(
        "Why is the nearest photo compared with other true photos?",
        ("To see whether a distance is small", "To train longer", "To remove the background"),
        "To see whether a distance is small",
        "Pictures of one individual are near each other without any copying.",
    ),
    Question(
        "What does prior preservation hold back?",
        ("Copies of photos", "The individual in pictures of its category", "Watermarks"),
        "The individual in pictures of its category",
        "Other members of the category are trained on beside the photos.",
    ),
    Question(
        "A signature of the metadata is intact, and untrusted. Then",
        ("the picture is a fake", "nobody vouches for who signed", "the file was changed"),
        "nobody vouches for who signed",
        "Intact says that nothing was changed since; trust comes from the certificate.",
    ),
)


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


def check_4(by_chance) -> str | None:
    rng = np.random.default_rng(3)
    signs = rng.choice([-1.0, 1.0], 400)
    unmarked = rng.laplace(0, 6, 400)
    for values in (unmarked, unmarked + signs, unmarked - signs):
        clipped = np.clip(values, -8, 8)
        total, spread = (signs * clipped).sum(), np.sqrt((clipped**2).sum())
        right = erfc(total / spread / 2**0.5) / 2
        got = by_chance(values, signs, 8.0)
        wrong = differs(got, right, "the probability")
        if wrong is None:
            continue
        loud = (signs * values).sum() / np.sqrt((values**2).sum())
        flat = total / np.sqrt(len(values))
        for sentence, other in {
            "the values are not clipped": erfc(loud / 2**0.5) / 2,
            "a product varies by the size of its value: add up the squares of those": (
                erfc(flat / 2**0.5) / 2
            ),
            "only large sums speak for the mark, not large negative ones": (
                erfc(abs(total / spread) / 2**0.5)
            ),
        }.items():
            if differs(got, other) is None:
                return sentence
        return wrong
    return None
