"""Walks: from one prompt and seed to others in small steps, one picture each.

The noise goes along the sphere, since noise of another length is none, and the text states go
along the straight line between two prompts. Every frame is a picture of its own: nothing ties it
to its neighbors but that it was asked for something similar, so this is a walk through the model
and not a moving scene. Source of the idea: diffusers' community pipeline
``interpolate_stable_diffusion`` and nateraw/stable-diffusion-videos; there all samples share one
angle, here each has its own.

Axes: f frames, b samples, c channels, y, x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base import Drawable, TextStates
from ..generation import fill
from ..sampling import PLAIN, PromptError, Sampling
from .cross_frame import share_first_frame
from .states import draw_states, noise, text_states

STRAIGHT = 1e-4  # sine of an angle below which the sphere is as good as flat


@dataclass(frozen=True)
class Walk:
    """Frames of a walk.

    Attributes:
        frames: uint8 (f, h, w, 3). stops: (prompt, seed), prompts with the concept's word.
        at: where each frame is, float (f,): 1.25 is a quarter of the way from stop 1 to stop 2.
        shared: whether the frames read the first one's self-attention.
    """

    frames: np.ndarray
    stops: tuple[tuple[str, int], ...]
    at: np.ndarray
    shared: bool = False


def slerp(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """Spherical interpolation, sample by sample.

    Args:
        a, b: (b, ...); share: of ``b``, a number or (b,), 0 gives ``a`` and 1 gives ``b``.

    Returns:
        (b, ...); straight interpolation where two samples point the same way or opposite ways.
    """
    one, other = a.flatten(1).float(), b.flatten(1).float()  # (b, n)
    u, v = (x / x.norm(dim=1, keepdim=True) for x in (one, other))
    # not acos(u v), which is off by 5e-4 where samples are parallel
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))  # (b,)
    t = torch.as_tensor(share, dtype=torch.float32, device=a.device).expand(len(a))
    sine = angle.sin()
    flat = sine < STRAIGHT
    safe = torch.where(flat, torch.ones_like(sine), sine)
    of_a = torch.where(flat, 1 - t, ((1 - t) * angle).sin() / safe)
    of_b = torch.where(flat, t, (t * angle).sin() / safe)
    return (of_a[:, None] * one + of_b[:, None] * other).reshape(a.shape).to(a.dtype)


def mixed(a: TextStates, b: TextStates, share: Tensor) -> TextStates:
    """Straight interpolation of text states: one prompt each, to (f, k, d) for shares (f,) of b."""

    def mix(one: Tensor, other: Tensor) -> Tensor:
        t = share.to(one).reshape(-1, *[1] * (one.ndim - 1))
        return (1 - t) * one + t * other

    if a.pooled is None or b.pooled is None:
        return TextStates(mix(a.tokens, b.tokens))
    return TextStates(mix(a.tokens, b.tokens), mix(a.pooled, b.pooled))


def walk(
    model: Drawable,
    stops: Sequence[tuple[str, int]],
    frames: int = 16,
    *,
    shared: bool = False,
    sampling: Sampling = PLAIN,
    **changes: Any,
) -> Walk:
    """Walk from stop to stop in even steps.

    Args:
        model: a personalized result (prompts carry ``{}``) or a base model (plain prompts).
        stops: (prompt, seed), two or more; the first one again at the end closes the round.
        frames: how many pictures, the stops' own included.
        shared: all frames read the first one's self-attention (see ``cross_frame.py``); they are
            then drawn at once, whatever ``batch`` says.
        sampling: a :class:`adb_core.Sampling`; changes: some of its fields, by name.

    Raises:
        PromptError: fewer than two stops or frames, or a prompt that cannot be used; TokenError: a
            prompt that is too long.
    """
    if len(stops) < 2 or frames < 2:
        raise PromptError(
            f"a walk needs two stops and two frames at least, got {len(stops)} and {frames}: "
            "give stops=[(prompt, seed), (prompt, seed)]"
        )
    sampling = replace(sampling, **changes).of(model)
    states, latents, at = way(model, stops, frames)
    fresh = [stops[0][1]] * frames  # a sampler's own noise is that of the first stop throughout
    if shared:
        sampling = replace(sampling, batch=frames)
        guided = (sampling.guidance or 1) > 1
        with share_first_frame(model.unet, frames, guided=guided):
            images = draw_states(model, states, latents, sampling, seeds=fresh)
    else:
        images = draw_states(model, states, latents, sampling, seeds=fresh)
    named = tuple((fill(prompt, model.subject), int(seed)) for prompt, seed in stops)
    return Walk(images, named, at, shared)


def way(
    model: Drawable, stops: Sequence[tuple[str, int]], frames: int
) -> tuple[TextStates, Tensor, np.ndarray]:
    """States (f, k, d) and noise (f, c, y, x) of all frames, and where each of them is, (f,)."""
    read = [text_states(model, prompt) for prompt, _ in stops]
    starts = [noise(model, seed) for _, seed in stops]
    at = torch.linspace(0, len(stops) - 1, frames, dtype=torch.float64)
    leg = at.floor().long().clamp(max=len(stops) - 2)  # (f,): the stop that a frame comes from
    states, latents = [], []
    for k in range(len(stops) - 1):
        share = (at - leg)[leg == k].float()  # (frames of this leg,)
        states.append(mixed(read[k], read[k + 1], share))
        one, other = (start.expand(len(share), -1, -1, -1) for start in starts[k : k + 2])
        latents.append(slerp(one, other, share.to(one.device)))
    return joined(states), torch.cat(latents), at.numpy()


def joined(states: Sequence[TextStates]) -> TextStates:
    """The states of several groups of prompts behind one another."""
    pooled = [each.pooled for each in states if each.pooled is not None]
    tokens = torch.cat([each.tokens for each in states])
    return TextStates(tokens, torch.cat(pooled) if pooled else None)
