"""Training-free layout: a word's attention is pulled into a box while the picture is drawn.

Before each of the first steps the captured map of a word is compared with the box,

    E = (1 - share of the map's mass in the box)^2,

and the latents go a little against its gradient: "backward guidance" of Chen, Laina and Vedaldi
2023 (arXiv 2304.03373, equation 2). Nothing is trained, and where the map goes the subject goes.

Two rules say how far a push goes:

- ``"length"``  a share of the latents' own length, which they keep: noise of another length is none
  that the model knows. One number serves every model.
- ``"paper"``   eta sigma^2 dE/dz of the paper, whose latents z are larger than the model's input x
  by sqrt(1 + sigma^2); in x the same push is eta sigma^2 / (1 + sigma^2) dE/dx. To take sigma^2
  without the denominator, about 200 at the first step, is a common slip that burns the picture.

Axes: b pictures, k tokens, c channels, y, x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attention import capture_attention, selection
from ..base import Drawable, TextStates
from ..generation import word_groups
from ..maps import aggregate
from ..sampling import PLAIN, PromptError
from .boxes import Box, share_inside
from .states import draw_states, noise, text_states, token_ids

RULES = ("length", "paper")
FEW_STEPS = 8  # of sampling, where nobody says otherwise: a slider waits for the picture


@dataclass(frozen=True)
class Push:
    """How a word is pulled into its box.

    Attributes:
        first: steps before which it is pulled; where things are is settled in the first few.
        times: pushes before each of them.
        strength: of one push: a share of the latents' length, or the paper's eta (there 30).
        rule: "length" or "paper", see above.
        resolution: only maps of this height (16 in Stable Diffusion); None is the mean of all.
    """

    first: int = 3
    times: int = 2
    strength: float = 0.2
    rule: str = "length"
    resolution: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise PromptError(f"unknown rule {self.rule!r}: choose {' or '.join(RULES)}")
        if self.first < 0 or self.times < 1 or not 0 < self.strength < float("inf"):
            raise PromptError(
                "a push needs first >= 0, times >= 1 and strength > 0, got "
                f"{self.first}, {self.times} and {self.strength}"
            )


GENTLE = Push()


@dataclass(frozen=True)
class Placed:
    """Pictures with a subject in its box.

    Attributes:
        images: uint8 (b, h, w, 3). prompt: with the concept's word. seeds: of each.
        box, words: what was put where.
        shares: of the words' map mass in the box before every push, (b, pushes); it rises.
    """

    images: np.ndarray
    prompt: str
    seeds: tuple[int, ...]
    box: Box
    words: tuple[str, ...]
    shares: np.ndarray


def place(
    model: Drawable,
    prompt: str,
    box: Box,
    word: str | None = None,
    seeds: Sequence[int] = (0,),
    push: Push = GENTLE,
    **sampling: Any,
) -> Placed:
    """Draw a prompt with a word's subject inside a box.

    Args:
        model: a personalized result (the prompt carries ``{}``) or a base model.
        word: one word or several of the prompt; None is all of the learned subject, as in
            "<pico> cat". A base model needs one.
        seeds: as of :func:`adb_core.generate`; without a push a seed gives the same picture there.
        sampling: fields of :class:`adb_core.Sampling`; 8 steps unless it says otherwise.

    Raises:
        PromptError: a word that the prompt does not contain, or none; odd numbers. TokenError: a
            prompt that is too long.
    """
    words, columns = word_column(model, prompt, word)
    states = text_states(model, prompt)
    images, shares = place_states(model, states, columns, box, seeds, push, **sampling)
    return Placed(images, token_ids(model, prompt)[0], tuple(map(int, seeds)), box, words, shares)


def place_states(
    model: Drawable,
    states: TextStates,
    columns: Tensor,
    box: Box,
    seeds: Sequence[int] = (0,),
    push: Push = GENTLE,
    **sampling: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The same for text states that are given, as of :func:`adb_core.beyond.mixed_states`.

    Args:
        states: of one prompt. columns: of :func:`word_column`, (k, 1).

    Returns:
        Pictures, uint8 (b, h, w, 3), and shares in the box before every push, (b, pushes).

    Raises:
        PromptError: odd numbers.
    """
    if not len(seeds):
        raise PromptError("give at least one seed")
    chosen = replace(PLAIN, **{"steps": FEW_STEPS, **sampling}).of(model)
    starts = torch.cat([noise(model, seed) for seed in seeds])
    shares: list[list[Tensor]] = []

    def pull(pipeline: Any, step: int, latents: Tensor) -> Tensor:
        if step == 0:
            shares.append([])  # of one batch
        for _ in range(push.times if step < push.first else 0):
            latents, share = pushed(model, pipeline, step, latents, columns, (states, box, push))
            shares[-1].append(share)
        return latents

    every = states.repeat(len(seeds))
    images = draw_states(model, every, starts, chosen, pull, seeds)
    batches = [torch.stack(batch, 1).cpu().numpy() for batch in shares if batch]
    none = np.zeros((len(seeds), 0), np.float32)
    return images, np.concatenate(batches) if batches else none


def word_column(
    model: Drawable, prompt: str, word: str | None = None
) -> tuple[tuple[str, ...], Tensor]:
    """Some words of a prompt, and the one column (k, 1) that reads the mean of their maps.

    Raises:
        PromptError: a word that the prompt does not contain, or none for a base model.
    """
    if word is None and model.subject is None:
        raise PromptError("name the word that goes into the box, as in word='cat'")
    text, ids = token_ids(model, prompt)
    names = (model.expand(model.subject or "") if word is None else model.expand(word)).split()
    if not names:
        raise PromptError("the word that goes into the box is empty: name one of the prompt's")
    found, groups = word_groups(model.text.tokenizers[0], text, names)
    return tuple(found), selection(ids.shape[1], [[p for group in groups for p in group]])


def pushed(
    model: Drawable,
    pipeline: Any,
    step: int,
    latents: Tensor,
    columns: Tensor,
    aim: tuple[TextStates, Box, Push],
) -> tuple[Tensor, Tensor]:
    """One push: the latents (b, c, y, x) after it, and the share (b,) in the box before it.

    Args:
        columns: of :func:`word_column`. aim: states of one prompt, the box, and how far.
    """
    states, box, push = aim
    time = pipeline.scheduler.timesteps[step]
    given = pipeline.scheduler.scale_model_input(latents, time).detach()  # what the U-Net reads
    with torch.enable_grad():
        x = given.requires_grad_(True)
        times = time.expand(len(x)).to(x.device)
        with capture_attention(model.unet, columns) as capture:
            model.base.predict(model.unet, x, times, states.repeat(len(x)))
        maps = aggregate(capture.layers, resolution=push.resolution)[:, 0]  # (b, y, x)
        share = share_inside(maps, box)  # (b,)
        (gradient,) = torch.autograd.grad((1 - share).square().sum(), x)
    if push.rule == "paper":
        level = 1 - model.base.scheduler.alphas_cumprod[int(time)]  # sigma^2 / (1 + sigma^2)
        scale = length(latents) / length(given)  # of z against x
        latents = latents - push.strength * level.to(latents) * scale * gradient
    else:
        step_length = push.strength * length(latents)
        moved = latents - step_length * gradient / length(gradient).clamp_min(1e-12)
        latents = moved * length(latents) / length(moved)
    return latents.detach(), share.detach()


def length(latents: Tensor) -> Tensor:
    """The Euclidean length of each of (b, c, y, x), as (b, 1, 1, 1)."""
    return latents.flatten(1).norm(dim=1)[:, None, None, None]
