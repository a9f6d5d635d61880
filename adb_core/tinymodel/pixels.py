"""Pictures between arrays and what the model computes with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_pixels(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (b, h, w, 3) to float (b, 3, h, w) in [-1, 1], as the image processor does."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def to_bytes(pixels: Tensor) -> np.ndarray:
    """Float (b, 3, h, w) in [-1, 1] to uint8 (b, h, w, 3)."""
    scaled = pixels.float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
