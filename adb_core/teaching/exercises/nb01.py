"""Checks of notebook 01, and the questions at its end."""

from __future__ import annotations

import numpy as np
import torch

from ..quizzes import Question
from . import DOTS, differs

QUIZ = (
    Question(
        "Which states change when a word of the prompt is replaced?",
        ("All of them", "Its own and all after it", "Only its own"),
        "Its own and all after it",
        "The text encoder reads from left to right.",
    ),
    Question(
        "From a noisy latent and the predicted velocity one gets",
        ("the clean guess alone", "the clean guess and the noise", "neither"),
        "the clean guess and the noise",
        "Both are the two turned back by the angle of the noise level.",
    ),
    Question(
        "Why is the guess at the highest noise a blur?",
        (
            "The VAE is bad",
            "The mean of all that fits is the best guess",
            "There were too few steps",
        ),
        "The mean of all that fits is the best guess",
        "Under a squared error the mean wins; a sharp picture needs many steps.",
    ),
    Question(
        "Guidance of 1 means",
        ("no caption", "the caption, not exaggerated", "the usual strength"),
        "the caption, not exaggerated",
        "At 0 the caption does not count, above 1 its difference is exaggerated.",
    ),
    Question(
        "What of a picture is settled in the first third of sampling?",
        ("Its details", "Its layout", "Nothing"),
        "Its layout",
        "So a word that is overlooked early is hard to bring in later.",
    ),
)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _same(got, wanted: torch.Tensor) -> bool:
    return differs(got, wanted) is None


def check_1(add_noise) -> str | None:
    table = torch.linspace(0.99, 0.01, 1000)
    x0, eps, t = _normal(3, 4, 5, 6), _normal(3, 4, 5, 6, seed=1), torch.tensor([10, 500, 990])
    a = table[t].view(-1, 1, 1, 1)
    wanted = a.sqrt() * x0 + (1 - a).sqrt() * eps
    try:
        got = add_noise(x0, eps, t, table)
    except RuntimeError as error:
        if "must match" in str(error):
            return (
                "alpha_bar[t] has the shape (b,), and the latents (b, c, h, w): give it three "
                "more axes of size 1"
            )
        raise
    if _same(got, a * x0 + (1 - a) * eps):
        return "the weights are the square roots of alpha_bar and of 1 - alpha_bar"
    if _same(got, a.sqrt() * eps + (1 - a).sqrt() * x0):
        return "picture and noise have changed places"
    if _same(got, a.sqrt() * x0 + (1 - a.sqrt()) * eps):
        return "the noise's weight is the root of (1 - alpha_bar), not 1 minus the root"
    wrong = differs(got, wanted, "the noised batch")
    if wrong:
        return wrong
    # as many channels, rows and columns as latents: the wrong axis does not show by its shape
    x0, eps, t = _normal(4, 4, 4, 4), _normal(4, 4, 4, 4, seed=1), torch.tensor([1, 300, 600, 999])
    a = table[t].view(-1, 1, 1, 1)
    wrong = differs(
        add_noise(x0, eps, t, table),
        a.sqrt() * x0 + (1 - a).sqrt() * eps,
        "the noised batch of four 4 x 4 latents with 4 channels",
    )
    return wrong and f"{wrong}: is every timestep applied along the first axis"


def check_2(translate) -> str | None:
    a = 0.3
    cos, sin = a**0.5, (1 - a) ** 0.5
    x0, eps = _normal(2, 4, 5, 5), _normal(2, 4, 5, 5, seed=1)
    got = translate(cos * x0 + sin * eps, eps, a)
    if not isinstance(got, tuple | list) or len(got) != 2:
        return "it should return two things, x0 and v"
    if any(part is ... for part in got):
        return "nothing is there yet: replace the three dots"
    x_t = cos * x0 + sin * eps
    if _same(got[0], cos * x_t - sin * eps):
        return (
            "cos x_t - sin v needs the velocity; here the noise is known, so solve x_t = cos x0 + "
            "sin eps for x0"
        )
    if _same(got[0], (x_t - (1 - a) * eps) / a):
        return "the weights are the square roots of a and of 1 - a"
    if _same(got[0], x_t - sin * eps):
        return "x0 still has its weight on it: divide by the root of a"
    wrong = differs(got[0], x0, "x0", 1e-4)
    if wrong:
        return wrong
    if _same(got[1], sin * x0 - cos * eps):
        return "v has the wrong sign: it points from the picture towards the noise"
    return differs(got[1], cos * eps - sin * x0, "v", 1e-4)


def _sampled(x, velocity, times, alpha_bar, order: int = 2):
    """DPM-Solver++ (2M) in the data's prediction; of the first order it is DDIM."""
    before = h_before = None
    for t, below in zip(times, times[1:], strict=False):
        a, b = alpha_bar[t], alpha_bar[below]
        clean = a**0.5 * x - (1 - a) ** 0.5 * velocity(x, t)
        h = (np.log(b / (1 - b)) - np.log(a / (1 - a))) / 2
        mean = clean
        if order == 2 and before is not None:
            mean = clean + h / (2 * h_before) * (clean - before)
        x = ((1 - b) / (1 - a)) ** 0.5 * x + b**0.5 * (1 - np.exp(-h)) * mean
        before, h_before = clean, h
    a = alpha_bar[times[-1]]
    return a**0.5 * x - (1 - a) ** 0.5 * velocity(x, times[-1])


def check_3(sample) -> str | None:
    table = np.cumprod(1 - np.linspace(0.02, 0.13, 60))
    start, times = np.random.default_rng(0).normal(size=(2, 3)), [55, 40, 27, 15, 6]
    asked: list[int] = []

    def velocity(x, t):
        asked.append(t)
        return np.tanh(x + t / 40) - 0.4 * x

    got = sample(start.copy(), velocity, list(times), table)
    if got is ...:
        return DOTS
    if got is None:
        return "it returned nothing (None): is there a return?"
    if asked and asked != times:
        return f"the U-Net should be asked once at each of the {len(times)} levels, in their order"
    wanted = _sampled(start, velocity, times, table)
    if np.shape(got) == start.shape and not np.isfinite(got).all():
        return "it is not finite: the last step ends without noise, and returns the clean guess"
    if differs(got, _sampled(start, velocity, times, table, order=1)) is None:
        return "every step is one of the first order, as DDIM's: the guess before is not used"
    return differs(got, wanted, "the last latent", 1e-6)
