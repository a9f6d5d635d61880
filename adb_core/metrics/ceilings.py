"""The ceiling of a score: what a perfect model would get, and what its VAE leaves of that.

The toy world draws the true picture of a concept for a prompt. A model that paints through a VAE
cannot do better than that picture after one round trip; a score means something only beside both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import Base
from ..concept import Concept
from ..judges import load_judge, true_pictures
from .evaluate import score_pictures
from .intervals import Interval, MetricError, bootstrap

SCORES = ("identity", "text")


@torch.no_grad()
def round_trip(base: Base, images: np.ndarray, batch: int = 16) -> np.ndarray:
    """Pictures encoded (the posterior's mean) and decoded by a base model's VAE.

    Args and returns: uint8 (n, side, side, 3).
    """
    vae: Any = base.parts["vae"]
    parts = []
    for start in range(0, len(images), batch):
        piece = torch.from_numpy(images[start : start + batch]).to(base.device)
        pixels = piece.permute(0, 3, 1, 2).float() / 127.5 - 1  # (b, 3, side, side) in [-1, 1]
        latents = base.encode_pictures(pixels).mean / vae.config.scaling_factor
        decoded = vae.decode(latents.to(base.dtype)).sample.float()
        scaled = ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        parts.append(scaled.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


def true_rounds(
    concept: Concept, asks: Sequence[Mapping[str, str]], seeds: Sequence[int], base: Base
) -> np.ndarray:
    """The true pictures of every prompt and seed after a base model's VAE.

    Returns:
        uint8 (prompts, seeds, side, side, 3).

    Raises:
        MetricError: nothing is asked for, or the base's pictures have another size.
        ValueError: the concept is not the toy world's.
    """
    _check_asked(asks, seeds)
    pictures = true_pictures(concept, asks, seeds)
    _check_side(base, pictures.shape[1])
    rounded = round_trip(base, pictures)
    return rounded.reshape(len(asks), len(seeds), *rounded.shape[1:])


def _check_asked(asks: Sequence, seeds: Sequence) -> None:
    if not len(asks) or not len(seeds):
        raise MetricError("give at least one prompt and one seed to draw the truth for")


def _check_side(base: Base, side: int) -> None:
    if base.side != side:
        raise MetricError(
            f"the true pictures have {side}x{side} pixels, the base model's {base.side}x"
            f"{base.side}: pass a base model of the toy world"
        )


def ceiling(
    concept: Concept,
    asks: Sequence[Mapping[str, str]],
    seeds: Sequence[int],
    *,
    base: Base | None = None,
    judge: Any = None,
) -> dict[str, dict[str, Interval]]:
    """Identity and text of the true pictures.

    Args:
        concept: one that the toy world has drawn. asks: what each prompt asks for.
        base: a model of the judge's picture size, through whose VAE they go too; None: not.
        judge: like :func:`adb_core.load_judge`'s; None loads it.

    Returns:
        "drawn" and, with a base, "after the VAE" -> "identity" and "text", with 95 % intervals.

    Raises:
        MetricError: nothing is asked for, or the base's pictures have another size.
        ValueError: the concept is not the toy world's.
    """
    _check_asked(asks, seeds)
    pictures = {"drawn": true_pictures(concept, asks, seeds)}
    if base is not None:
        _check_side(base, pictures["drawn"].shape[1])
        pictures["after the VAE"] = round_trip(base, pictures["drawn"])
    judge = judge or load_judge()
    each = [dict(asked) for asked in asks for _ in seeds]
    scores = {
        name: score_pictures(images, each, concept, judge=judge)[0]
        for name, images in pictures.items()
    }
    return {
        name: {score: bootstrap(values[score].tolist()) for score in SCORES}
        for name, values in scores.items()
    }
