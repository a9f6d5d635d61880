"""Checks of notebook 00, and the questions at its end."""

from __future__ import annotations

import numpy as np

from ..quizzes import Question
from . import differs

QUIZ = (
    Question(
        "What can captions not say?",
        ("Color and pattern", "What makes one individual", "The place"),
        "What makes one individual",
        "Four cats fit one caption, and none of them is Pico.",
    ),
    Question(
        "What moves in the first stage?",
        ("One row of a table", "The cross-attention", "The whole U-Net"),
        "One row of a table",
        "Then the cross-attention, then the whole U-Net.",
    ),
    Question(
        "Which prompts are the hardest for a personalised model?",
        ("Short ones", "Those that ask for much besides", "Those without a place"),
        "Those that ask for much besides",
        "More words compete for the picture.",
    ),
    Question(
        "The regulariser keeps the map of [V] close to",
        ("its photos", "the map of its category", "a mask"),
        "the map of its category",
        "No mask is needed.",
    ),
    Question(
        "A judge's cosine of 0.7 means",
        ("70 % of the pixels agree", "nothing by itself", "the same individual"),
        "nothing by itself",
        "From where on it counts as the same has to be said: exercise 3.",
    ),
)


def check_1(fill) -> str | None:
    got = fill("a photo of a {} on the beach", "<toto>", "dog")
    wanted = "a photo of a <toto> dog on the beach"
    if got is ...:
        return "the three dots are still there: put your own line in their place"
    if not isinstance(got, str):
        return "it should return a text"
    if "{}" in got:
        return "the braces are still there"
    return (
        None if got == wanted else f"it gave {got!r} for the word '<toto>' and the category 'dog'"
    )


def check_2(identity_scores) -> str | None:
    rng = np.random.default_rng(0)
    vectors, references = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
    mean = references.mean(0)
    wanted = vectors @ mean / np.linalg.norm(vectors, axis=1) / np.linalg.norm(mean)
    return differs(identity_scores(vectors, references), wanted, "the list of cosines")


def check_3(threshold) -> str | None:
    # many strangers and few photos, so that counts of mistakes and shares of them disagree
    same, different = np.array([0.6, 0.35, 0.65, 0.5]), np.linspace(-0.1, 0.45, 40)[::-1]
    candidates = np.sort(np.concatenate([same, different]))
    missed = (same < candidates[:, None]).sum(1)
    mistaken = (different >= candidates[:, None]).sum(1)
    wanted = candidates[np.argmin(missed / 4 + mistaken / 40)]
    got = threshold(same.copy(), different.copy())
    if np.ndim(got) == 0 and got is not ... and got is not None:
        if got == candidates[np.argmin(missed + mistaken)]:
            return "it counts mistakes: there are ten times as many strangers, so compare shares"
        if got == candidates[np.argmax(missed / 4 + mistaken / 40)]:
            return "that is the worst of them all"
        if not np.any(candidates == got):
            return f"it gave {got}, which is none of the given cosines"
    wrong = differs(got, wanted, "the threshold", 1e-12)
    if wrong is None:
        same, different = np.array([0.6, 0.9]), np.array([0.1, 0.7, 0.2])
        wrong = differs(threshold(same, different), 0.6, "where cosines overlap, it", 1e-12)
    if wrong is None:
        tied = threshold(np.array([0.4, 0.8]), np.array([0.3, 0.5]))  # 0.4 is as good as 0.8
        wrong = differs(tied, 0.4, "of 0.4 and 0.8, which are equally good, it", 1e-12)
    return wrong
