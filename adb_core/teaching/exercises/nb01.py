"""Checks of notebook 01, and the questions at its end."""

from __future__ import annotations

import torch

from ..quizzes import Question
from . import differs

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


def check_2(guide) -> str | None:
    prediction = _normal(4, 3, 5, 5)
    empty, caption = prediction[:2], prediction[2:]
    got = guide(prediction, 3.0)
    if _same(got, caption + 3.0 * (caption - empty)):
        return (
            "it should start from the empty caption's answer: at scale 0 nothing of the caption "
            "is left"
        )
    if _same(got, caption + 3.0 * (empty - caption)):
        return "the two halves have changed places: the empty caption's answers come first"
    if _same(got, empty + 3.0 * caption):
        return "it is the difference of the two answers that is scaled"
    if _same(got, prediction[0::2] + 3.0 * (prediction[1::2] - prediction[0::2])):
        return (
            "the first b answers are the empty caption's, the last b the captions': they do not "
            "alternate"
        )
    return differs(got, empty + 3.0 * (caption - empty), "the guided prediction") or differs(
        guide(prediction, 1.0), caption, "scale 1, where only the captions count,"
    )


def check_3(translate) -> str | None:
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


def check_4(renoise) -> str | None:
    a, below, sigma = 0.3, 0.5, 0.4
    x_t, v, fresh = (_normal(2, 4, 5, 5, seed=seed) for seed in range(3))
    clean = a**0.5 * x_t - (1 - a) ** 0.5 * v
    dirt = (1 - a) ** 0.5 * x_t + a**0.5 * v
    got = renoise(x_t, v, a, below, sigma, fresh)
    usual = below**0.5 * clean
    if _same(got, usual + (1 - below) ** 0.5 * dirt + sigma * fresh):
        return "that is more noise than the level has: the fresh part has to replace some"
    if _same(got, usual + ((1 - below) ** 0.5 - sigma) * dirt + sigma * fresh):
        return "independent noises add up in their variances, not in their standard deviations"
    if _same(got, usual + (1 - below) ** 0.5 * dirt):
        return "the fresh noise is missing"
    wrong = differs(got, usual + (1 - below - sigma**2) ** 0.5 * dirt + sigma * fresh, "the latent")
    if wrong:
        return wrong
    none = renoise(x_t, v, a, below, 0.0, fresh)
    return differs(none, usual + (1 - below) ** 0.5 * dirt, "a step without fresh noise")
