"""Checks of notebook 05."""

from __future__ import annotations

import numpy as np
import torch

from . import DOTS, differs


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
