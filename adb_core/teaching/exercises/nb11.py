"""Checks of notebook 11, and the questions at its end."""

from __future__ import annotations

import numpy as np

from ..quizzes import Question
from ..timing import times_faster
from . import DOTS, differs

QUIZ = (
    Question(
        "Why is a ratio taken within each round?",
        ("It is quicker", "A slow moment then slows both sides", "To save memory"),
        "A slow moment then slows both sides",
        "Ten times one way and then ten times the other measures the weather.",
    ),
    Question(
        "Which part of a step takes longest?",
        ("The VAE", "The U-Net's way back", "The optimizer"),
        "The U-Net's way back",
        "VAE and text encoder are a tenth together, and can be left out of most steps.",
    ),
    Question(
        "Kept latents change the numbers",
        ("not at all", "in the third digit", "a little, as LoRA does"),
        "not at all",
        "They are the same to the bit: this saving is free.",
    ),
    Question(
        "What does LoRA save?",
        ("Time of a step", "What is trained and stored", "Steps"),
        "What is trained and stored",
        "The way through the U-Net is as long.",
    ),
    Question(
        "A step uses half of what one large product does. So",
        (
            "cleverer code doubles it",
            "there is more to gain by doing less",
            "the processor is broken",
        ),
        "there is more to gain by doing less",
        "Fewer steps, smaller pictures, kept latents.",
    ),
)


def check_1(speedup) -> str | None:
    slow, fast = np.array([2.0, 9.0, 4.0, 3.0, 30.0]), np.array([1.0, 3.0, 4.0, 1.2, 2.0])
    got = speedup(slow, fast)
    if got is ...:
        return DOTS
    if got is not None and np.ndim(got) == 0:
        if abs(got - np.median(fast / slow)) < 1e-9:
            return "it is upside down: the slow side belongs above the fraction line"
        if abs(got - np.median(slow) / np.median(fast)) < 1e-9:
            return "that is the ratio of medians: divide within each round first"
        if abs(got - (slow / fast).mean()) < 1e-9:
            return "that is the mean of the ratios: one slow round would move it"
    return differs(got, np.median(slow / fast), "the speedup")


def check_2(times_smaller) -> str | None:
    for m, n, r in ((320, 320, 4), (1280, 320, 8)):
        got = times_smaller(m, n, r)
        if got is ...:
            return DOTS
        if got is not None and np.ndim(got) == 0:
            if abs(got - r * (m + n) / (m * n)) < 1e-9:
                return "it is upside down: the whole weight belongs above the fraction line"
            if abs(got - m * n / (r * r)) < 1e-9:
                return "the two thin matrices are (m, r) and (r, n), not (r, r)"
            if abs(got - m * n / (r * m * n)) < 1e-9:
                return "the two thin matrices stand side by side: their sizes add up"
        wrong = differs(got, m * n / (r * (m + n)), f"of {m} x {n} at rank {r} it")
        if wrong:
            return wrong
    return None


def _slow(pictures, photos):
    scores = []
    for picture in pictures:
        cosines = []
        for photo in photos:
            lengths = np.sqrt(np.sum(picture**2)) * np.sqrt(np.sum(photo**2))
            cosines.append(np.sum(picture * photo) / lengths)
        scores.append(np.mean(cosines))
    return np.array(scores)


def check_3(fast) -> str | None:
    rng = np.random.default_rng(11)
    pictures, photos = rng.normal(1, 1, (300, 64)), rng.normal(1, 3, (8, 64))
    wanted, got = _slow(pictures, photos), fast(pictures.copy(), photos.copy())
    if got is ...:
        return DOTS
    if got is not None and np.shape(got) == wanted.shape:
        mean = photos.mean(0)
        near = pictures @ mean / np.linalg.norm(pictures, axis=1) / np.linalg.norm(mean)
        if np.allclose(got, near, atol=1e-6):
            return "that is the cosine to the mean photo: the mean of the cosines was asked for"
    wrong = differs(got, wanted, "the score")
    if wrong:
        return wrong
    found = times_faster(lambda: _slow(pictures, photos), lambda: fast(pictures, photos), rounds=5)
    if found.median < 2:
        return f"it is right, and {found.median:.1f} times as fast: twice was asked for"
    return None
