"""Ways in which a picture gets worse and still shows the same individual.

The judge learns with them (at random strengths) and is measured under them (at the fixed
strengths of :data:`DEGRADATIONS`). Axes: b batch, c channels, h w sides.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def blur(pixels: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with ``sigma`` in pixels; (b, c, h, w) to the same."""
    reach = max(1, int(np.ceil(2.5 * sigma)))
    at = torch.arange(-reach, reach + 1, dtype=pixels.dtype, device=pixels.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(pixels.shape[1], 1, 1, -1)  # (c, 1, 1, taps)
    for turn in (kernel, kernel.transpose(2, 3)):
        pad = [reach, reach, 0, 0] if turn is kernel else [0, 0, reach, reach]
        pixels = F.conv2d(F.pad(pixels, pad, mode="replicate"), turn, groups=pixels.shape[1])
    return pixels


def rescale(pixels: Tensor, factor: int) -> Tensor:
    """Reduced ``factor`` times by averaging, and enlarged again."""
    small = F.avg_pool2d(pixels, factor)
    return F.interpolate(small, size=pixels.shape[2:], mode="bilinear", align_corners=False)


def jpeg(pixels: Tensor, quality: int) -> Tensor:
    """Saved as JPEG and read again; pixels in [0, 1]."""
    parts = []
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    for picture in array:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        parts.append(np.asarray(Image.open(buffer).convert("RGB")))
    read = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).to(pixels.device)
    return read.to(pixels.dtype) / 255


def noise(pixels: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation ``std`` on pixels in [0, 1]."""
    drawn = torch.randn(pixels.shape, generator=generator, dtype=torch.float32)
    return (pixels + std * drawn.to(pixels.device, pixels.dtype)).clamp(0, 1)


def _seeded_noise(pixels: Tensor) -> Tensor:
    return noise(pixels, 0.05, torch.Generator().manual_seed(0))


# What identity is measured under; a round trip through the VAE comes on top.
DEGRADATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "blur of 1.5 pixels": lambda pixels: blur(pixels, 1.5),
    "half resolution": lambda pixels: rescale(pixels, 2),
    "JPEG of quality 30": lambda pixels: jpeg(pixels, 30),
    "noise of 5 %": _seeded_noise,
}


def at_random(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Each picture of (b, c, h, w) in [0, 1] with one of the degradations, or none, at random."""
    which = rng.integers(0, 6, len(pixels))  # 4 and 5: as it is
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    out = pixels.clone()
    for kind, degraded in enumerate(
        (
            lambda part: blur(part, float(rng.uniform(0.6, 2.0))),
            lambda part: rescale(part, int(rng.choice((2, 4), p=(0.8, 0.2)))),
            lambda part: jpeg(part, int(rng.integers(20, 80))),
            lambda part: noise(part, float(rng.uniform(0.01, 0.07)), generator),
        )
    ):
        rows = torch.from_numpy(np.flatnonzero(which == kind)).to(pixels.device)
        if len(rows):
            out[rows] = degraded(pixels[rows])
    return out
