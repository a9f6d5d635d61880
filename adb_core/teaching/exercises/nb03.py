"""Checks of notebook 03, and the questions at its end."""

from __future__ import annotations

import numpy as np

from ..quizzes import Question
from . import DOTS, differs

QUIZ = (
    Question(
        "How many weights of the model does Textual Inversion change?",
        ("None", "The text encoder's", "The cross-attention's"),
        "None",
        "It adds one row to a table, and trains that.",
    ),
    Question(
        "Where does a row end that is trained for long?",
        ("At its category", "At a better word", "Far from all words"),
        "Far from all words",
        "Nothing in the loss asks it to stay among them.",
    ),
    Question(
        "Who pays here for the attention that [V] takes?",
        ("The other words", "The start token", "The U-Net"),
        "The start token",
        "It holds what no word needs; the other words lose nothing here.",
    ),
    Question(
        "What does one row not say?",
        ("The color", "The pattern's color", "Star and face"),
        "Star and face",
        "A frozen U-Net draws only what it could draw already.",
    ),
    Question(
        "On Stable Diffusion, says the paper, a row that is trained so",
        ("drops the rest of the prompt", "is ignored", "draws the category"),
        "drops the rest of the prompt",
        "Here the words are still obeyed: the failure is seen in the maps.",
    ),
)


def _cosines(row, table):
    return table @ row / np.linalg.norm(table, axis=1) / np.linalg.norm(row)


def check_1(nearest) -> str | None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(12, 5)) * rng.uniform(
        0.1, 5, size=(12, 1)
    )  # lengths differ, as real rows' do
    row = rng.normal(size=5)
    wanted = np.argsort(-_cosines(row, table))[:4]
    got = nearest(row, table, 4)
    if got is ...:
        return DOTS
    if got is None:
        return "it returned nothing (None): is there a return?"
    got = np.asarray(got)
    if got.shape != (4,):
        return f"it gave the shape {got.shape}, four row numbers were asked for: (4,)"
    if got.dtype.kind == "f":
        return "it gave the cosines, the numbers of the rows were asked for"
    if np.array_equal(got, wanted):
        return None
    if np.array_equal(got, np.argsort(_cosines(row, table))[:4]):
        return "these are the rows farthest away: the largest cosine comes first"
    if np.array_equal(got, wanted[::-1]) or np.array_equal(got, np.sort(wanted)):
        return "the right rows, in the wrong order: the best comes first"
    if np.array_equal(got, np.argsort(-(table @ row))[:4]):
        return "long rows win: a dot product is no cosine until it is divided by both lengths"
    if np.array_equal(got, np.argsort(np.linalg.norm(table - row, axis=1))[:4]):
        return "these are the nearest by Euclidean distance: the angle was asked for"
    return f"it gave the rows {got.tolist()}, expected {wanted.tolist()}"


def check_2(drift) -> str | None:
    rng = np.random.default_rng(4)
    start = rng.normal(size=6)
    row = 2.5 * start + rng.normal(size=6)
    distance = np.linalg.norm(row - start)
    cosine = row @ start / np.linalg.norm(row) / np.linalg.norm(start)
    got = drift(row, start)
    if got is ...:
        return DOTS
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        return "it should return two numbers: the distance and the cosine"
    if abs(got[0] - distance**2) < 1e-6:
        return "the distance is squared: a root is missing"
    if abs(got[1] - (1 - cosine)) < 1e-6:
        return "the second number is one minus the cosine: return the cosine itself"
    if abs(got[1] - row @ start) < 1e-6:
        return "the dot product is not divided by the two lengths"
    return differs(got[0], distance, "the distance") or differs(got[1], cosine, "the cosine")


def check_3(appetite) -> str | None:
    maps = np.random.default_rng(5).uniform(0.01, 0.3, size=(4, 3, 3))
    maps[1] *= 4
    means = maps.mean((1, 2))
    others = np.delete(means, 1)
    got = appetite(maps, 1)
    if got is ...:
        return DOTS
    if got is not None and np.ndim(got) == 0:
        if abs(got - means[1] / means.mean()) < 1e-9:
            return "[V] is compared with a mean that contains [V] itself: leave it out"
        if abs(got - means[1] / others.sum()) < 1e-9:
            return "[V] is compared with the sum of the other words, their mean was asked for"
        if abs(got - others.mean() / means[1]) < 1e-9:
            return "it is upside down: [V] belongs above the fraction line"
        if abs(got - maps[1].max() / np.delete(maps.max((1, 2)), 1).mean()) < 1e-9:
            return "it compares the maps' largest values, their means were asked for"
    return differs(got, means[1] / others.mean(), "the ratio")


def check_4(rise) -> str | None:
    def softmax(scores):
        return np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()

    rng = np.random.default_rng(6)
    for scale in (1.0, 1000.0):
        scores = scale * rng.normal(size=7)
        for share in (0.2, 0.5, 0.9):
            got = rise(scores.copy(), 2, share)
            if got is ...:
                return DOTS
            if got is None or np.ndim(got) != 0:
                return "one number was asked for: by how much the score rises"
            if not np.isfinite(got):
                return "it gave no finite number for large scores: take the largest score out first"
            raised = scores.copy()
            raised[2] += got
            reached = softmax(raised)[2]
            if abs(reached - share) < 1e-6:
                continue
            if abs(softmax(np.where(np.arange(7) == 2, got, scores))[2] - share) < 1e-6:
                return "that is the score that [V] needs: its rise was asked for, so subtract"
            return f"[V] then gets {reached:.3f} of the pixel, {share:g} was asked for"
    return None
