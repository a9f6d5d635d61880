"""Clips of a motion module: a subject that walks, jumps or turns, and how far it follows.

Axes: v clips, f frames, c channels, y, x, h, w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base import Drawable
from ..generation import fill
from ..sampling import PLAIN, Sampling
from .masks import map_mask, picture_maps
from .motion import Motion, MotionError, moving
from .motion_files import check_belongs
from .states import draw_states, text_states

SHARED = 0.5  # of a frame's noise, by variance: what it has in common with the other frames


def clip_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise of variance 1, (v, f, c, y, x), half of which the frames of a clip share."""
    own = torch.randn(shape, generator=generator)
    common = torch.randn((shape[0], 1, *shape[2:]), generator=generator)
    return (1 - SHARED) ** 0.5 * own + SHARED**0.5 * common


@dataclass(frozen=True)
class Moved:
    """Frames of a clip.

    Attributes:
        frames: uint8 (f, h, w, 3). prompt: with the concept's word. seed, kind: of the clip;
            kind None is without the module.
    """

    frames: np.ndarray
    prompt: str
    seed: int
    kind: str | None


def move(
    model: Drawable,
    prompt: str,
    motion: Motion,
    kind: str | None = "walk",
    seed: int = 0,
    **sampling: Any,
) -> Moved:
    """Draw a clip.

    Args:
        model: a personalized result (the prompt carries ``{}``) or the base model (a plain prompt).
        kind: one of ``motion.kinds``; None leaves the module out: what is left is the noise that
            the frames share.
        sampling: fields of :class:`adb_core.Sampling`; all frames are drawn at once.

    Raises:
        MotionError: another base model's module, or an unknown motion. PromptError, TokenError: a
            prompt that cannot be used.
    """
    check_belongs(motion.fingerprint, model.base)
    chosen: Sampling = replace(PLAIN, **{**sampling, "batch": motion.frames}).of(model)
    side, channels = model.base.latent_side, model.unet.config.in_channels
    generator = torch.Generator().manual_seed(int(seed))
    start = clip_noise((1, motion.frames, channels, side, side), generator)[0]
    start = start.to(model.base.device, model.base.dtype)  # (f, c, y, x)
    states = text_states(model, prompt).repeat(motion.frames)
    seeds = [seed] * motion.frames
    if kind is None:
        frames = draw_states(model, states, start, chosen, seeds=seeds)
    else:
        with moving(model.unet, motion, kind):
            frames = draw_states(model, states, start, chosen, seeds=seeds)
    return Moved(frames, fill(prompt, model.subject), int(seed), kind)


# ---------------------------------------------------------------- how it moves


@dataclass(frozen=True)
class Track:
    """Where a subject is, frame by frame, each (f,), in shares of the picture's side.

    Attributes:
        x, y: of its middle, from the left and from the top. width: deviation of its columns.
    """

    x: np.ndarray
    y: np.ndarray
    width: np.ndarray

    @property
    def travel(self) -> float:
        """How far the middle goes between neighbors, on average."""
        return float(np.hypot(np.diff(self.x), np.diff(self.y)).mean())

    def follows(self, kind: str) -> float:
        """Correlation, at most 1, of what a motion changes with how it should: x of a walk (to
        either side), height of a jump, width of a turn; 0 where nothing changes.

        Raises:
            MotionError: an unknown motion.
        """
        t = np.linspace(0, 1, len(self.x))
        ideals = {
            "walk": (self.x, t),
            "jump": (-self.y, np.sin(np.pi * t)),
            "turn": (self.width, np.abs(np.cos(np.pi * t))),
        }
        if kind not in ideals:
            raise MotionError(f"unknown motion {kind!r}: choose one of {', '.join(ideals)}")
        found, ideal = ideals[kind]
        if np.ptp(found) < 1e-9:
            return 0.0
        value = float(np.corrcoef(found, ideal)[0, 1])
        return abs(value) if kind == "walk" else value


def track_masks(masks: np.ndarray) -> Track:
    """The track of masks, bool (f, h, w). A frame without a subject is where the last one was."""
    points: list[tuple[float, float, float]] = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        if len(rows):
            h, w = mask.shape
            middle = (columns.mean() + 0.5) / w, (rows.mean() + 0.5) / h
            points.append((*middle, columns.std() / w))
        else:
            points.append(points[-1] if points else (0.5, 0.5, 0.0))
    return Track(*np.array(points).T)


def track(model: Drawable, prompt: str, frames: np.ndarray, word: str | None = None) -> Track:
    """The track of a word's subject in finished frames, by its map in each of them.

    Args:
        frames: uint8 (f, side, side, 3). word: as of :func:`adb_core.beyond.place`.
    """
    maps = picture_maps(model, prompt, frames, word)
    return track_masks(np.stack([map_mask(heat, model.base.side) for heat in maps]))
