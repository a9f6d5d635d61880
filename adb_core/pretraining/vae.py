"""How the VAE learns.

Trained mostly on 64x64 crops: four times as many different pictures for the same arithmetic. A
share of the steps sees whole pictures, because the group norms' statistics differ there.

Axes: b batch, c channels, h w sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..tinymodel.pixels import to_pixels
from ..tinymodel.vae import build_vae
from .fit import fit
from .latents import normalize_latents
from .randomness import torch_generator
from .settings import Budget, Fit, Place, warm

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

CROP = 64  # pixels
WHOLE_SHARE = 0.25  # of the steps: whole pictures, a quarter as many of them
KL_WEIGHT = 1e-4  # costs the reconstruction half of this in squared error, so nothing
L1_WEIGHT = 0.1  # a little keeps outlines sharp; the rest is squared error, which PSNR measures

# The decoder goes on alone once the U-Net has its latents: reconstruction improves, latents stay.
DECODER_FIT = Fit(
    "decoder", lr=1e-3, muon_lr=1e-2, batch=48, warmup=100, weight_decay=1e-3, ema=0.999
)
FIT = Fit(
    "vae",
    lr=2e-3,
    muon_lr=3e-2,
    batch=16,  # small: at equal arithmetic three times the steps of 48 got further
    warmup=25,
    weight_decay=1e-3,
    ema=0.998,
    schedule="trapezoid",
)


def crops(images: np.ndarray, rng: np.random.Generator, batch: int) -> np.ndarray:
    """Random crops, uint8 (batch, 64, 64, 3), from random images; any origin."""
    rows = rng.integers(len(images), size=batch)
    tops, lefts = rng.integers(0, images.shape[1] - CROP + 1, size=(2, batch))
    corners = zip(rows, tops, lefts, strict=True)
    return np.stack([images[r, y : y + CROP, x : x + CROP] for r, y, x in corners])


def batch_of(images: np.ndarray, rng: np.random.Generator, batch: int) -> np.ndarray:
    """What one step sees: ``batch`` crops, or a quarter as many whole pictures."""
    if rng.random() < WHOLE_SHARE:
        return images[rng.integers(len(images), size=max(1, batch // 4))]
    return crops(images, rng, batch)


def vae_loss(
    vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error + a little L1 + a little KL (nats per latent number).

    ``pixels`` (b, 3, h, w) in [-1, 1].
    """
    posterior = vae.encode(pixels).latent_dist
    # sample by hand in float32: the same noise on every device, and no bf16 exp
    mean, std = posterior.mean.float(), posterior.std.float()
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    decoded = vae.decode(mean + std * noise).sample.float()
    error = decoded - pixels
    mse, l1 = error.square().mean(), error.abs().mean()
    kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).mean()
    psnr_db = -10 * torch.log10(mse.detach() / 4)  # / 4: from [-1, 1] to [0, 1]
    return mse + L1_WEIGHT * l1 + KL_WEIGHT * kl, {
        "mse": mse.detach(),
        "kl": kl.detach(),
        "psnr": psnr_db,
    }


# ---------------------------------------------------------------- training


def train_vae(
    images: np.ndarray,
    *,
    place: Place,
    budget: Budget,
    settings: Fit = FIT,
    start: Path | None = None,
) -> AutoencoderKL:
    """Train (or resume, or load) the VAE and normalize its latents.

    Args:
        images: uint8 (n, 128, 128, 3).
        start: a diffusers folder of a trained VAE to go on from.
    """
    torch.manual_seed(place.seed)
    vae = build_vae()
    if start is not None:
        trained = type(vae).from_pretrained(start, use_safetensors=True)
        vae.load_state_dict(trained.state_dict())
        vae.register_to_config(scaling_factor=trained.config.scaling_factor)
    settings = warm(settings, start)

    def loss_fn(step: int, rng: np.random.Generator):
        pixels = to_pixels(batch_of(images, rng, settings.batch), place.device)
        return vae_loss(vae, pixels, torch_generator(rng, place.device))

    fit(settings, {"vae": vae}, loss_fn, place=place, budget=budget)
    if budget.steps != 0:  # weights that are kept as they are keep their latents too
        normalize_latents(vae, images[:4096])
    return vae


def train_decoder(
    vae: AutoencoderKL,
    images: np.ndarray,
    *,
    place: Place,
    budget: Budget,
    settings: Fit = DECODER_FIT,
) -> AutoencoderKL:
    """Train the decoder further with the encoder frozen, in place; squared error alone.

    The encoder's half of the arithmetic needs no gradient, and the U-Net, which only knows
    latents, need not be trained again. Squared error is what PSNR measures.
    """
    vae.requires_grad_(False)
    trained = {"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}
    for module in trained.values():
        module.requires_grad_(True)

    def loss_fn(step: int, rng: np.random.Generator):
        pixels = to_pixels(batch_of(images, rng, settings.batch), place.device)
        generator = torch_generator(rng, place.device)
        with torch.no_grad():
            posterior = vae.encode(pixels).latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
            latents = mean + std * torch.randn(mean.shape, generator=generator, device=mean.device)
        mse = (vae.decode(latents).sample.float() - pixels).square().mean()
        return mse, {"psnr": -10 * torch.log10(mse.detach() / 4)}

    fit(settings, trained, loss_fn, place=place, budget=budget)
    return vae.requires_grad_(False)
