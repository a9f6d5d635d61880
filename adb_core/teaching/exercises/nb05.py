"""Checks of notebook 05, and the questions at its end."""

from __future__ import annotations

import numpy as np
import torch

from ..quizzes import Question
from . import DOTS, differs

QUIZ = (
    Question(
        "Before the first step, 'a photo of a [V] cat' reads as",
        ("a photo of a cat", "a photo of a cat cat", "noise"),
        "a photo of a cat cat",
        "[V] begins on the category's row.",
    ),
    Question(
        "Why is the row a parameter of its own, and the table frozen?",
        (
            "It is smaller on disk",
            "Other words of the prompt would move too",
            "The table has no gradient",
        ),
        "Other words of the prompt would move too",
        "'photo' and 'cat' would be trained along with [V].",
    ),
    Question(
        "A category has three pieces. The row of [V] begins on",
        ("the first", "the mean of their rows", "the last"),
        "the mean of their rows",
        "Exercise 2.",
    ),
    Question(
        "Stage 1 ends when",
        ("the loss is at rest", "its few steps are over", "the picture is right"),
        "its few steps are over",
        "It is stopped before it has converged: a row that goes on takes what attention it likes.",
    ),
    Question(
        "On Stable Diffusion, row and U-Net trained at once:",
        ("both learn half", "the embedding hardly moves", "the U-Net hardly moves"),
        "the embedding hardly moves",
        "So the three stages let one move after the other.",
    ),
)


def check_1(one_row) -> str | None:
    torch.manual_seed(1)
    gradient = torch.randn(7, 8)
    given = gradient.clone()
    wanted = torch.zeros(7, 8)
    wanted[5] = gradient[5]
    got = one_row(given, 5)
    if got is ...:
        return DOTS
    if not torch.equal(given, gradient):
        return "the gradient that was passed in has changed: return a new tensor"
    if isinstance(got, torch.Tensor) and got.shape == gradient.shape:
        if torch.equal(got, gradient - wanted):
            return "it is the other way round: this row should be the one that is left"
        if torch.equal(got, gradient):
            return "every row still has its gradient"
        column = torch.zeros(7, 8)
        column[:, 5] = gradient[:, 5]
        if torch.equal(got, column):
            return "a column is left, a row was asked for"
    return differs(got, wanted, "the masked gradient", 0.0)


def check_2(start) -> str | None:
    table = np.random.default_rng(2).normal(size=(9, 4))
    pieces = [6, 1, 3]
    wanted = table[pieces].mean(0)
    got = start(table, pieces)
    if got is ...:
        return DOTS
    if isinstance(got, (np.ndarray, torch.Tensor)):
        plain = np.asarray(got)
        if plain.shape == (4,):
            if np.allclose(plain, table[6]):
                return "this is the row of the first piece alone: use all of them"
            if np.allclose(plain, table[pieces].sum(0)):
                return "this is the sum: it would be longer than any word"
        if plain.shape == (3,):
            return "the mean runs along the wrong axis: average over the pieces, keep the channels"
    wrong = differs(got, wanted, "the first row of [V]")
    if wrong is None:
        wrong = differs(start(table, [4]), table[4], "with a single piece it")
    return wrong


def check_3(reach) -> str | None:
    for steps, lr, channels in ((10, 0.01, 16), (50, 0.002, 9)):
        wanted = steps * lr * channels**0.5
        got = reach(steps, lr, channels)
        if got is ...:
            return DOTS
        if isinstance(got, (int, float)):
            if abs(got - steps * lr * channels) < 1e-9:
                return (
                    "the channels are at right angles to each other: their lengths add as in "
                    "Pythagoras' theorem"
                )
            if abs(got - steps * lr) < 1e-9:
                return "this is how far one channel can go, not the whole vector"
            if abs(got - steps**0.5 * lr * channels**0.5) < 1e-9:
                return "steps in one direction add up fully, there is no root of their number"
        wrong = differs(got, wanted, "the reach")
        if wrong:
            return wrong
    return None


def check_4(learn_row) -> str | None:
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(6, 4, generator=generator, requires_grad=True)
    start, goal = torch.randn(2, 4, generator=generator)
    ids = torch.tensor([1, 5, 2, 5, 3])  # [V] comes twice: both places pull

    def loss(embeddings):
        mixed = torch.tanh(embeddings.cumsum(0))  # later tokens read the earlier ones
        return (mixed - goal).square().sum()

    def trained(start, steps, lr, sign=1.0):
        row = start.clone()
        for _ in range(steps):
            row.requires_grad_(True)
            embeddings = torch.where((ids == 5)[:, None], row, table.detach()[ids])
            (gradient,) = torch.autograd.grad(loss(embeddings), row)
            row = (row - sign * lr * gradient).detach()
        return row

    before, begin = table.detach().clone(), start.clone()
    got = learn_row(table, start, ids, 5, loss, 4, 0.05)
    if got is ...:
        return DOTS
    if not torch.equal(table.detach(), before):
        return "the table has changed: only the row of [V] may move"
    if table.grad is not None:
        return "the table got a gradient: detach it, or ask for the row's gradient alone"
    if not torch.equal(start.detach(), begin):
        return "the first row was changed in place: work on a copy of it"
    if isinstance(got, torch.Tensor) and got.shape == (4,):
        got = got.detach()
        if torch.allclose(got, begin):
            return "the row has not moved"
        if torch.allclose(got, trained(begin, 4, 0.05, -1.0), atol=1e-5):
            return "it climbs: a step goes against the gradient"
        if torch.allclose(got, trained(before[5], 4, 0.05), atol=1e-5):
            return "it begins at the table's row of [V], not at `start`"
        if torch.allclose(got, trained(begin, 1, 0.05), atol=1e-5):
            return "that is one step: the loss has to be asked anew after each"
    return differs(got, trained(begin, 4, 0.05), "the trained row")
