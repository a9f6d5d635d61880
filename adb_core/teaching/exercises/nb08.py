"""Checks of notebook 08, and the questions at its end."""

from __future__ import annotations

import numpy as np
import torch

from ..quizzes import Question
from . import differs

QUIZ = (
    Question(
        "Two maps in different places can have the same mean and variance.",
        ("True", "False"),
        "True",
        "The regulariser knows no place.",
    ),
    Question(
        "So why does it move maps to the subject?",
        ("It does not know, it sets a price", "It uses masks", "By chance"),
        "It does not know, it sets a price",
        "Attention is given up first where it gains least; the diffusion loss says where.",
    ),
    Question(
        "The batch is halved. What keeps the pull as it was?",
        ("Half the weights", "Twice the weights", "The same weights"),
        "Twice the weights",
        "The term sums over the batch and averages over layers.",
    ),
    Question(
        "The term is a thousandth of the loss. It still acts because",
        ("its rate is larger", "it pulls one way at every step", "it is added twice"),
        "it pulls one way at every step",
        "The diffusion loss pulls back and forth.",
    ),
    Question(
        "What is broken when lambda_sigma is ten thousand times too large?",
        ("The map", "The drawing", "Nothing"),
        "The drawing",
        "A map as contrasted as asked, whatever it costs.",
    ),
)


def check_1(statistics) -> str | None:
    attention = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    got = statistics(attention)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        return "it should return two things, the means and the variances"
    flat = attention.flatten(1)
    wrong = differs(got[0], flat.mean(1), "the mean")
    if wrong:
        return wrong
    if differs(got[1], flat.var(1, correction=0), "") is None:
        return "the variance is the biased one: divide by the count less one"
    if differs(got[1], flat.std(1, correction=1), "") is None:
        return "that is the standard deviation, not the variance"
    return differs(got[1], flat.var(1, correction=1), "the variance")


def check_2(penalty) -> str | None:
    generator = torch.Generator().manual_seed(1)
    mean_v, var_v, mean_cat, var_cat = torch.rand(4, 3, 2, generator=generator)
    each = 2.0 * (mean_v - mean_cat) ** 2 + 5.0 * (var_v - var_cat) ** 2
    got = penalty(mean_v, var_v, mean_cat, var_cat, 2.0, 5.0)
    for mistake, said in (
        (each.sum(), "the layers are summed; they should be averaged"),
        (each.mean(), "the batch is averaged; it should be summed"),
        (
            each.sum(0).mean(),
            "the axes are mixed up: the sum runs over the batch, the mean over the layers",
        ),
    ):
        if got is not None and differs(got, mistake, "") is None:
            return said
    return differs(got, each.mean(0).sum(), "the penalty")


def check_3(same_pull) -> str | None:
    got = same_pull(2.0, 8, 4)
    if got == 1.0:
        return "it is the wrong way round: fewer samples need a larger weight"
    return differs(got, 4.0, "the weight for 8 samples becoming 4") or differs(
        same_pull(0.1, 6, 9), 0.1 * 6 / 9, "the weight for 6 samples becoming 9"
    )


def check_4(price) -> str | None:
    a = np.random.default_rng(4).uniform(0.0, 0.6, 7)
    n, mean, var = len(a), a.mean(), a.var(ddof=1)
    of_mean = np.full(n, 2 * 3.0 * (mean - 0.1) / n)
    of_variance = 4 * 50.0 * (var - 0.02) * (a - mean) / (n - 1)
    wanted = of_mean + of_variance
    got = price(a.copy(), 0.1, 0.02, 3.0, 50.0)
    wrong = {
        "only the price of the mean is there": of_mean,
        "only the price of the variance is there": of_variance,
        "the price of the variance has the wrong sign": of_mean - of_variance,
        "the variance is a mean of SQUARES: its own derivative has a factor 2 as well": (
            of_mean + of_variance / 2
        ),
        "the unbiased variance divides by n - 1, and so does its derivative": (
            of_mean + of_variance * (n - 1) / n
        ),
        "the variance of the map is the biased one: divide by n - 1": (
            of_mean + 4 * 50.0 * (a.var() - 0.02) * (a - mean) / (n - 1)
        ),
        "the mean is divided by n, and so is its derivative": of_mean * n + of_variance,
    }
    if got is not None and got is not ... and differs(got, wanted) is not None:
        for sentence, value in wrong.items():
            if differs(got, value) is None:
                return sentence
    return differs(got, wanted, "the gradient", 1e-8)
