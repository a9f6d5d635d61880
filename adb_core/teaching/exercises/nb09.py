"""Checks of notebook 09, and the questions at its end."""

from __future__ import annotations

import numpy as np

from ..quizzes import Question
from . import DOTS, differs

QUIZ = (
    Question(
        "An identity score is 0.6. What has to stand beside it?",
        ("The loss", "A ceiling and a control", "The number of steps"),
        "A ceiling and a control",
        "Without its two ends nobody knows whether 0.6 is much.",
    ),
    Question(
        "The base model has the highest CLIP-T of all. What does that say?",
        (
            "It is the best model",
            "A score of the text alone rewards not learning",
            "CLIP is broken",
        ),
        "A score of the text alone rewards not learning",
        "It obeys the prompt and shows nobody.",
    ),
    Question(
        "Four concepts, forty pictures of each. What does an honest interval draw anew?",
        ("Pictures", "Prompts", "Concepts"),
        "Concepts",
        "Pictures of one concept share what makes it hard; the question is about others as well.",
    ),
    Question(
        "All four individuals agree in sign. What is the least p of a sign-flip test?",
        ("0.05", "0.125", "0.0001"),
        "0.125",
        "Two of the sixteen ways to flip four signs are as extreme.",
    ),
    Question(
        "Why are recipes compared at matched text, and not where their presets end?",
        ("It is quicker", "Training longer buys identity with text", "Text is easier to read"),
        "Training longer buys identity with text",
        "Where a preset ends is a choice; the curve shows the price.",
    ),
)


def check_1(found) -> str | None:
    read = {
        "style": ["photo", "sketch", "photo"],
        "place": ["beach", "snow", "city"],
        "accessory": ["hat", "none", "crown"],
    }
    asks = [
        {"style": "photo", "place": "beach", "accessory": "hat"},
        {"style": "photo", "place": "snow"},
        {"accessory": "hat"},
    ]
    got = found(read, asks)
    if got is not None and np.shape(got) == ():
        return "it gave one number: return the share of each picture"
    if got is not None and np.shape(got) == (3,):
        wrong = {
            "it counts what was found: divide by what the picture was asked for": [3, 1, 0],
            "it divides by all labels: count only those that the picture was asked for": [
                1,
                1 / 3,
                0,
            ],
        }
        for sentence, value in wrong.items():
            if differs(got, np.array(value)) is None:
                return sentence
    return differs(got, np.array([1.0, 0.5, 0.0]), "the list of shares")


def check_2(bootstrap_interval) -> str | None:
    rng = np.random.default_rng(0)
    values, drawn = rng.exponential(size=12), rng.integers(12, size=(400, 12))
    means = values[drawn].mean(1)
    got = bootstrap_interval(values, drawn)
    if got is None:
        return differs(got, 0, "it")
    if np.shape(got) != (2,):
        return (
            "it should return two numbers, the lower and the upper end, and gave the shape "
            f"{np.shape(got)}"
        )
    spread = 1.96 * means.std()
    wrong = {
        "take the mean of each row of values[drawn], over axis 1": np.quantile(
            values[drawn].mean(0), [0.025, 0.975]
        ),
        "that is the middle 90 %: 95 % leaves 2.5 % on each side": np.quantile(means, [0.05, 0.95]),
        "that interval ends at 95 % with 5 % below: leave out 2.5 % on each side": np.quantile(
            means, [0.05, 1.0]
        ),
        "the lower end comes first": np.quantile(means, [0.975, 0.025]),
        "that is where single values lie: take the quantiles of the means": np.quantile(
            values[drawn], [0.025, 0.975]
        ),
        "that is where the values lie, without any resampling": np.quantile(values, [0.025, 0.975]),
        "that is the mean and a multiple of its spread, as if the curve were symmetric: take "
        "quantiles": [means.mean() - spread, means.mean() + spread],
        "those are the smallest and the largest mean: leave out 2.5 % on each side": [
            means.min(),
            means.max(),
        ],
    }
    for sentence, value in wrong.items():
        if differs(got, np.array(value), tolerance=1e-9) is None:
            return sentence
    return differs(got, np.quantile(means, [0.025, 0.975]), "the interval")


def check_3(points_at) -> str | None:
    word_map, mask = np.full((3, 5), 0.1), np.zeros((3, 5), bool)
    word_map[0, 4], word_map[2, 1] = 0.9, 0.5
    mask[0, 4] = True
    small = mask.copy()
    mask[0, 4], mask[:, :3] = False, True
    got = points_at(word_map, small)
    if got is None:
        return "it returned nothing (None): is there a return?"
    if np.ndim(got) != 0:
        return "it should return one True or False"
    if not bool(got):
        return "it gave False though the largest value lies on the mask: mind the order, [y, x]"
    if bool(points_at(word_map, mask)):
        return (
            "it gave True though the largest value lies beside the mask: only the largest one "
            "counts, not the sum"
        )
    return None


def check_4(holm) -> str | None:
    p = np.array([0.04, 0.001, 0.9, 0.012, 0.011])
    wanted = np.array([0.08, 0.005, 0.9, 0.044, 0.044])
    got = holm(p.copy())
    if got is ...:
        return DOTS
    if got is None:
        return "it returned nothing (None): is there a return?"
    got = np.asarray(got, dtype=float)
    if got.shape != p.shape:
        return f"it gave the shape {got.shape}, five values were asked for"
    if np.allclose(got, np.minimum(1, 5 * p)):
        return "that is Bonferroni's correction: only the smallest is multiplied by m"
    if np.allclose(got, np.sort(wanted)):
        return "the values are right, but sorted: return them in the order that was given"
    if np.allclose(got, [0.08, 0.005, 0.9, 0.036, 0.044]):
        return "0.012 becomes smaller than 0.011 before it: none may fall below one before"
    if (got > 1).any():
        return "a p value cannot be larger than 1"
    return differs(got, wanted, "the corrected value")
