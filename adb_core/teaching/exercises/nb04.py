"""Checks of notebook 04, and the questions at its end."""

from __future__ import annotations

import numpy as np
import torch

from ..quizzes import Question
from . import DOTS, differs

QUIZ = (
    Question(
        "How far does the row of [V] move in DreamBooth?",
        ("A little", "As far as in Textual Inversion", "Not at all"),
        "Not at all",
        "It is no parameter of the recipe: the U-Net learns to read a rare token.",
    ),
    Question(
        "What does DreamBooth lose here when the prompt grows?",
        ("The individual", "The rest of the prompt", "Both alike"),
        "The rest of the prompt",
        "In the paper it overlooks the concept: one conflict, lost by the other side.",
    ),
    Question(
        "Most of Pico hangs on the word [V].",
        ("True", "False"),
        "False",
        "The same U-Net draws nearly as much of him for 'a cat'.",
    ),
    Question(
        "What does prior preservation add to each step?",
        ("A larger rate", "Pictures of the category by the base model", "More photos"),
        "Pictures of the category by the base model",
        "Both kinds together force the network to find out what [V] means.",
    ),
    Question(
        "And what does it cost?",
        ("Nothing", "Twice the time of a step", "The individual"),
        "Twice the time of a step",
        "Every step passes two batches through the U-Net.",
    ),
)


def check_1(loss) -> str | None:
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    prior, prior_target = (
        torch.randn(3, 4, 3, 3),
        torch.randn(3, 4, 3, 3),
    )  # another batch size: the means differ
    ours, other = (predicted - target).square(), (prior - prior_target).square()
    wanted = ours.mean() + 0.3 * other.mean()
    got = loss(predicted, target, prior, prior_target, 0.3)
    if got is ...:
        return DOTS
    if isinstance(got, torch.Tensor) and got.ndim == 0:
        if torch.isclose(got, 0.3 * ours.mean() + other.mean()):
            return "the weight stands at the wrong part: it belongs to the pictures of the category"
        if torch.isclose(got, ours.mean() + other.mean()):
            return "the weight is missing"
        if torch.isclose(got, ours.sum() + 0.3 * other.sum()):
            return "it sums the squares, their mean was asked for"
        if torch.isclose(
            got, (predicted - target).abs().mean() + 0.3 * (prior - prior_target).abs().mean()
        ):
            return "the differences are not squared"
    return differs(got, wanted, "the loss")


def check_2(leak_share) -> str | None:
    seen = ["kitchen", "beach", "forest", "beach", "snow", "kitchen"]
    asked = ["kitchen", "snow", "forest", "city", "snow", "moon"]
    trained = {"kitchen", "beach"}
    # the first picture was asked to be in the kitchen: it does not count
    got = leak_share(seen, asked, trained)
    if got is ...:
        return DOTS
    if got is None:
        return "it returned nothing (None): is there a return?"
    if abs(got - 4 / 6) < 1e-9:
        return (
            "a picture that was asked to show a training place cannot leak: leave it out of both "
            "counts"
        )
    if abs(got - 3 / 6) < 1e-9:
        return "the share is of the pictures that can leak, not of all of them"
    if abs(got - 3) < 1e-9:
        return "this is the count, the share was asked for"
    return differs(got, 3 / 5, "the share")


def check_3(pixel_difference) -> str | None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, size=(2, 3, 4, 4, 3), dtype=np.uint8)
    wanted = np.abs(a.astype(float) - b.astype(float)).reshape(3, -1).mean(1) / 255
    got = pixel_difference(a, b)
    if got is ...:
        return DOTS
    if got is None:
        return "it returned nothing (None): is there a return?"
    got = np.asarray(got, dtype=float)
    if got.shape == ():
        return "it gave one number for all pictures: one for each was asked for"
    if got.shape == wanted.shape:
        wrapped = np.abs(a - b).reshape(3, -1).mean(1)
        if np.allclose(got, wrapped / 255) or np.allclose(got, wrapped):
            return "bytes wrap around: 3 - 5 is 254 in uint8, so turn them into floats first"
        if np.allclose(got, wanted * 255):
            return "it is on the scale from 0 to 255: divide by 255"
        if np.allclose(got, (a.astype(float) - b).reshape(3, -1).mean(1) / 255):
            return "differences of opposite sign cancel: take absolute values"
    return differs(got, wanted, "the list of differences")


def check_4(word_share) -> str | None:
    rng = np.random.default_rng(8)
    base = rng.uniform(0, 0.2, (4, 5))
    named = base + np.array([[0.6], [0.4], [0.01], [0.5]]) + rng.normal(0, 0.02, (4, 5))
    plain = base + np.array([[0.0], [0.4], [0.0], [0.25]]) + rng.normal(0, 0.02, (4, 5))
    got = word_share(named.copy(), plain.copy(), base.copy())
    if got is ...:
        return DOTS
    if got is None:
        return "it returned nothing (None): is there a return?"
    got = np.asarray(got, dtype=float)
    if got.shape != (4,):
        return f"it gave the shape {got.shape}, one number for each of four concepts was asked for"
    added = (named - base).mean(1)
    wanted = (named - plain).mean(1) / added
    if np.isfinite(got[2]):
        return "the third concept's training has added next to nothing: np.nan was asked for there"
    clear = np.array([0, 1, 3])
    if np.isnan(got[clear]).any():
        return "it gave np.nan for a concept to which training has added much"
    if np.allclose(got[clear], ((named - plain) / (named - base)).mean(1)[clear]):
        return "it averages the prompts' shares: average over prompts first, then divide"
    if np.allclose(got[clear], (plain - base).mean(1)[clear] / added[clear]):
        return "that is what does NOT hang on the word: compare with the pictures without [V]"
    return differs(got[clear], wanted[clear], "the share")
