"""The tiny model's VAE: 128x128 RGB to 16x16 latents and back (b batch, c channels, h w sides)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .pixels import to_bytes, to_pixels
from .precision import autocast

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

LATENT_CHANNELS = 16


def vae_config() -> dict:
    """2.7 M parameters; pixels to latents are 8 to 1, as in Stable Diffusion.

    Every level costs about the same.
    """
    levels = 4
    return dict(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENT_CHANNELS,
        sample_size=128,
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        norm_num_groups=1,  # more groups lose colors: each takes its own mean away
        mid_block_add_attention=True,
        scaling_factor=1.0,
    )


def build_vae() -> AutoencoderKL:
    """An untrained VAE that begins nearly linear and nearly without noise.

    Residual branches start at zero, and the posterior's variance at e^-6: the first thing to
    learn is a plain linear code.
    """
    from diffusers import AutoencoderKL
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D

    vae = AutoencoderKL(**vae_config())
    with torch.no_grad():
        for part in vae.modules():
            if isinstance(part, ResnetBlock2D):
                part.conv2.weight.zero_()
            elif isinstance(part, Attention):
                part.to_out[0].weight.zero_()
        vae.quant_conv.bias[LATENT_CHANNELS:] = -6.0  # log variances
    return vae


@torch.no_grad()
def posterior_means(vae: AutoencoderKL, images: np.ndarray, batch: int = 128) -> Iterator[Tensor]:
    """Posterior means in float32, (b, c, h, w) per batch, on the model's device."""
    for start in range(0, len(images), batch):
        pixels = to_pixels(images[start : start + batch], vae.device)
        yield vae.encode(pixels).latent_dist.mean.float()


@torch.no_grad()
def round_trips(vae: AutoencoderKL, images: np.ndarray, batch: int = 32) -> np.ndarray:
    """What is left of pictures after encoding (the posterior's mode) and decoding.

    Args and returns: uint8 (n, h, w, 3).
    """
    parts = []
    for start in range(0, len(images), batch):
        pixels = to_pixels(images[start : start + batch], vae.device)
        with autocast(vae.device):
            decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
        parts.append(to_bytes(decoded))
    return np.concatenate(parts)
