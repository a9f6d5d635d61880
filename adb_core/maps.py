"""Captured columns as maps that can be looked at: brought to one size, averaged.

Axes: b batch, h heads, q query pixels, n chosen tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_size(pixels: int, aspect: float = 1.0) -> tuple[int, int]:
    """Height and width of a map of ``pixels`` query pixels, width / height near ``aspect``."""
    height = min(
        (d for d in range(1, pixels + 1) if pixels % d == 0),
        key=lambda d: abs(math.log(pixels / d / d / aspect)),
    )
    return height, pixels // height


def upsample(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., height, width) maps -> (..., *size), bilinear, float32."""
    flat = attention.float().reshape(-1, 1, *attention.shape[-2:])
    return F.interpolate(flat, size=size, mode="bilinear", align_corners=False).reshape(
        *attention.shape[:-2], *size
    )


def aggregate(
    layers: dict[str, Tensor],
    *,
    resolution: int | None = None,
    head: int | None = None,
    size: tuple[int, int] | None = None,
    aspect: float = 1.0,
) -> Tensor:
    """Average captured maps over layers (and heads), brought to one size.

    Args:
        layers: name -> (b, h, q, n), as in :class:`AttentionCapture`.
        resolution: use only layers whose maps have this height; None uses all.
        head: one head instead of the mean over heads.
        size: (height, width) of the result; None is the largest map's own.

    Returns:
        (b, n, height, width) float32.

    Raises:
        ValueError: no layer has that resolution; the message lists those there are.
    """
    grids = {name: grid_size(columns.shape[2], aspect) for name, columns in layers.items()}
    used = [name for name, (height, _) in grids.items() if resolution in (None, height)]
    if not used:
        raise ValueError(
            f"no layer has maps of height {resolution}: "
            f"there are {sorted({h for h, _ in grids.values()})}"
        )
    size = size or max(grids[name] for name in used)
    maps = []
    for name in used:
        columns = layers[name].float()  # (b, h, q, n)
        if head is not None and not 0 <= head < columns.shape[1]:
            raise ValueError(f"{name} has heads 0 to {columns.shape[1] - 1}, not {head}")
        columns = columns.mean(1) if head is None else columns[:, head]  # (b, q, n)
        maps.append(upsample(columns.transpose(1, 2).unflatten(2, grids[name]), size))
    return torch.stack(maps).mean(0)
