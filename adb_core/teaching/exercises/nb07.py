"""Checks of notebook 07, and the questions at its end."""

from __future__ import annotations

import numpy as np

from ..quizzes import Question
from . import differs

QUIZ = (
    Question(
        "What does stage 3 train?",
        ("The row of [V]", "The cross-attention", "The whole U-Net"),
        "The whole U-Net",
        "Row and text encoder are fixed.",
    ),
    Question(
        "A rate of 1e-4 and 80 steps: how far can a weight go?",
        ("Hardly beyond 8e-3", "As far as its gradient", "Not at all"),
        "Hardly beyond 8e-3",
        "A step of AdamW is about the rate, whatever the gradient's size.",
    ),
    Question(
        "Ten times the rate gives",
        ("more of Pico and less of the prompt", "less of both", "more of both"),
        "more of Pico and less of the prompt",
        "It walks past the point where the photos are drawn well.",
    ),
    Question(
        "After three stages, 'a photo of a cat' draws",
        ("any cat", "cats like Pico", "nothing"),
        "cats like Pico",
        "Nothing in the loss keeps the category; prior preservation would.",
    ),
    Question(
        "What does plain diffusers need to draw Pico?",
        ("This collection", "The saved folder", "The photos"),
        "The saved folder",
        "All that was learned is in weights, tokenizer and row.",
    ),
)


def check_1(adamw_first_step) -> str | None:
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    lr, decay, eps = 0.1, 0.2, 0.05
    size = np.abs(g) + eps
    wanted = w - lr * decay * w - lr * g / size
    got = adamw_first_step(w.copy(), g.copy(), lr, decay, eps)
    wrong = {
        "the weight decay is missing": w - lr * g / size,
        "the weight decay should shrink the weight, not grow it": w
        + lr * decay * w
        - lr * g / size,
        "the weight decay is multiplied by the learning rate too": w - decay * w - lr * g / size,
        "the step goes up the gradient: subtract it": w - lr * decay * w + lr * g / size,
        "divide the gradient by the root of v: without it, large gradients make large steps": w
        - lr * decay * w
        - lr * g,
        "v is the square of the gradient: take its root before dividing": w
        - lr * decay * w
        - lr * g / (g**2 + eps),
        "eps belongs outside the root": w - lr * decay * w - lr * g / np.sqrt(g**2 + eps),
        "eps is missing": w - lr * decay * w - lr * np.sign(g),
        "without the bias correction m is 0.1 g and v is 0.001 g^2: here m is g and v is g^2": w
        - lr * decay * w
        - lr * 0.1 * g / (np.sqrt(0.001) * np.abs(g) + eps),
    }
    if differs(got, wanted) is not None:
        for sentence, value in wrong.items():
            if differs(got, value) is None:
                return sentence
    return differs(got, wanted, "the weight", 1e-8)


def check_2(model_change) -> str | None:
    rng = np.random.default_rng(0)
    before = {
        "a": rng.normal(size=(2, 3)),
        "b": 5 * rng.normal(size=7),
        "c": rng.normal(size=(2, 2, 2)),
    }
    after = {name: w + 0.1 * rng.normal(size=w.shape) for name, w in before.items()}
    names = list(before)
    far = [((after[n] - before[n]) ** 2).sum() for n in names]
    size = [(before[n] ** 2).sum() for n in names]
    got = model_change(before, after)
    if np.ndim(got) != 0:
        return "it should return one number: sum over all arrays"
    own = "each array's own change: add up the squares of all arrays first"
    wrong = {
        "the square root is missing": sum(far) / sum(size),
        f"that is the mean of {own}": np.mean(np.sqrt(np.divide(far, size))),
        f"that is the sum of {own}": np.sum(np.sqrt(np.divide(far, size))),
        "add up the squares first and take the root at the end, not the root of each array": (
            np.sum(np.sqrt(far)) / np.sum(np.sqrt(size))
        ),
        "the length of the model before is missing: divide by it": np.sqrt(sum(far)),
        "divide by the model before, not after": np.sqrt(
            sum(far) / sum((after[n] ** 2).sum() for n in names)
        ),
    }
    wanted = np.sqrt(sum(far) / sum(size))
    if got is not None and differs(got, wanted, tolerance=1e-9) is not None:
        for sentence, value in wrong.items():
            if differs(got, value, tolerance=1e-9) is None:
                return sentence
    return differs(got, wanted, "the change", 1e-9)


def _adamw(steps, *, gradient, weight, corrected=True, decoupled=True, anew=True, rooted=True):
    """AdamW as asked for, or with one of the usual mistakes."""
    lr, decay, (b1, b2), eps = 0.1, 0.2, (0.8, 0.95), 0.01
    first, m, v = weight, np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, steps + 1):
        g = gradient(weight if anew else first, step)
        g = g if decoupled else g + decay * weight
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat, v_hat = (m / (1 - b1**step), v / (1 - b2**step)) if corrected else (m, v)
        shrunk = weight - lr * decay * weight * decoupled
        weight = shrunk - lr * m_hat / ((np.sqrt(v_hat) if rooted else v_hat) + eps)
    return weight


def check_3(adamw) -> str | None:
    rng = np.random.default_rng(2)
    weight, goals = rng.normal(size=(2, 3)), rng.normal(size=(6, 2, 3))
    asked: list[int] = []

    def gradient(w, step):
        asked.append(step)
        return 3 * (w - goals[step])

    def told(w, step):
        return 3 * (w - goals[step])

    given = weight.copy()
    got = adamw(given, gradient, 5, 0.1, 0.2, (0.8, 0.95), 0.01)
    if got is ...:
        return "the three dots are still there: return your result instead"
    if not np.array_equal(given, weight):
        return "the weight that was passed in has changed: make a new array in each step"
    if asked and asked[0] == 0:
        return "the steps are counted from 1: at 0 the bias correction would divide by 0"
    right = {"gradient": told, "weight": weight}
    wanted = _adamw(5, **right)
    wrong = {
        "the bias correction is missing: m and v begin at 0": {"corrected": False},
        "the weight decay belongs beside the gradient's step, not into it": {"decoupled": False},
        "the gradient has to be asked anew, at the weight that has moved": {"anew": False},
        "v is the mean of squares: take its root before dividing": {"rooted": False},
    }
    if got is not None and differs(got, wanted) is not None:
        for sentence, mistake in wrong.items():
            if differs(got, _adamw(5, **right, **mistake)) is None:
                return sentence
        if differs(got, _adamw(1, **right)) is None:
            return "that is the first step alone"
        forgetful = weight
        for step in range(1, 6):
            lone = {"gradient": lambda w, _, at=step: told(w, at), "weight": forgetful}
            forgetful = _adamw(1, **lone)
        if differs(got, forgetful) is None:
            return "every step starts without a past: m and v are kept from step to step"
    return differs(got, wanted, "the weight", 1e-8)
