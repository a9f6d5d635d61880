"""The tiny model's VAE: 128x128 RGB to 16x16 latents and back (b batch, c channels, h w sides).

Trained mostly on 64x64 crops: four times as many different pictures for the same arithmetic. A
share of the steps sees whole pictures, because the group norms' statistics differ there.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..system.files import atomic_write_bytes, sweep
from .fit import Fit, autocast, fit, log_line, torch_generator, warm

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

LATENT_CHANNELS = 16
CROP = 64  # pixels
WHOLE_SHARE = 0.25  # of the steps: whole pictures, a quarter as many of them
KL_WEIGHT = 1e-4  # costs the reconstruction half of this in squared error, so nothing
L1_WEIGHT = (
    0.1  # a little of it keeps outlines sharp; the rest is squared error, which PSNR measures
)

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


def vae_config() -> dict:
    """2.7 M parameters (every level costs about the same), a factor of 8 between pixels and latents as Stable Diffusion's."""
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

    vae = AutoencoderKL(**vae_config())
    with torch.no_grad():
        for part in vae.modules():
            if hasattr(part, "conv2"):
                part.conv2.weight.zero_()
            elif hasattr(part, "to_out"):
                part.to_out[0].weight.zero_()
        vae.quant_conv.bias[LATENT_CHANNELS:] = -6.0  # log variances
    return vae


# ---------------------------------------------------------------- data


def to_pixels(images: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (b, h, w, 3) to float (b, 3, h, w) in [-1, 1]."""
    return torch.as_tensor(images).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def crops(images: np.ndarray, rng: np.random.Generator, batch: int) -> np.ndarray:
    """Random crops, uint8 (batch, 64, 64, 3), from random images; any origin."""
    rows = rng.integers(len(images), size=batch)
    tops, lefts = rng.integers(0, images.shape[1] - CROP + 1, size=(2, batch))
    return np.stack([images[r, y : y + CROP, x : x + CROP] for r, y, x in zip(rows, tops, lefts)])


def batch_of(images: np.ndarray, rng: np.random.Generator, batch: int) -> np.ndarray:
    """What one step sees: ``batch`` crops, or a quarter as many whole pictures."""
    if rng.random() < WHOLE_SHARE:
        return images[rng.integers(len(images), size=max(1, batch // 4))]
    return crops(images, rng, batch)


def vae_loss(
    vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error + a little L1 + a little KL (nats per latent number); ``pixels`` (b, 3, h, w) in [-1, 1]."""
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
    run_dir: str | Path,
    seed: int,
    device: torch.device | str,
    minutes: float | None = None,
    steps: int | None = None,
    settings: Fit = FIT,
    bf16: bool | None = None,
    start: Path | None = None,
) -> AutoencoderKL:
    """Train (or resume, or load) the VAE and normalise its latents.

    Args:
        images: uint8 (n, 128, 128, 3).
        start: a diffusers folder of a trained VAE to go on from.
    """
    torch.manual_seed(seed)
    vae = build_vae()
    if start is not None:
        trained = type(vae).from_pretrained(start, use_safetensors=True)
        vae.load_state_dict(trained.state_dict())
        vae.register_to_config(scaling_factor=trained.config.scaling_factor)
    settings = warm(settings, start)

    def loss_fn(step: int, rng: np.random.Generator):
        pixels = to_pixels(batch_of(images, rng, settings.batch), device)
        return vae_loss(vae, pixels, torch_generator(rng, device))

    fit(
        settings,
        {"vae": vae},
        loss_fn,
        run_dir=run_dir,
        seed=seed,
        device=device,
        minutes=minutes,
        steps=steps,
        bf16=bf16,
    )
    if steps != 0:  # weights that are kept as they are keep their latents too
        normalise_latents(vae, images[:4096])
    return vae


def train_decoder(
    vae: AutoencoderKL,
    images: np.ndarray,
    *,
    run_dir: str | Path,
    seed: int,
    device: torch.device | str,
    minutes: float | None = None,
    steps: int | None = None,
    settings: Fit = DECODER_FIT,
    bf16: bool | None = None,
) -> AutoencoderKL:
    """Train the decoder further with the encoder frozen, in place; squared error alone, which PSNR measures.

    The encoder's half of the arithmetic needs no gradient, and the U-Net, which only knows
    latents, need not be trained again.
    """
    vae.requires_grad_(False)
    trained = {"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv}
    for module in trained.values():
        module.requires_grad_(True)

    def loss_fn(step: int, rng: np.random.Generator):
        pixels = to_pixels(batch_of(images, rng, settings.batch), device)
        generator = torch_generator(rng, device)
        with torch.no_grad():
            posterior = vae.encode(pixels).latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
            latents = mean + std * torch.randn(mean.shape, generator=generator, device=mean.device)
        mse = (vae.decode(latents).sample.float() - pixels).square().mean()
        return mse, {"psnr": -10 * torch.log10(mse.detach() / 4)}

    fit(
        settings,
        trained,
        loss_fn,
        run_dir=run_dir,
        seed=seed,
        device=device,
        minutes=minutes,
        steps=steps,
        bf16=bf16,
    )
    return vae.requires_grad_(False)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, images: np.ndarray) -> None:
    """Make every latent channel mean 0 and standard deviation 1 by changing the two 1x1 convolutions.

    A scaling factor alone cannot centre the latents nor even out the channels, and diffusion
    adds the same noise to all of them. The round trip stays the same; ``scaling_factor``
    (1 / std, what diffusers' pipelines apply) is then 1 to rounding.
    """
    latents = torch.cat(list(_means(vae, images)))  # (n, c, h, w)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))  # (c,)
    c = len(mean)
    weight, bias = (
        vae.quant_conv.weight,
        vae.quant_conv.bias,
    )  # (2c, 2c, 1, 1), (2c,): means, then log variances
    weight[:c] /= std[:, None, None, None]
    bias[:c] = (bias[:c] - mean) / std
    bias[c:] -= 2 * std.log()
    weight, bias = vae.post_quant_conv.weight, vae.post_quant_conv.bias  # (c, c, 1, 1), (c,)
    bias += weight[:, :, 0, 0] @ mean
    weight *= std[None, :, None, None]
    scale = torch.cat(list(_means(vae, images[:1024]))).std()
    vae.register_to_config(scaling_factor=round(float(1 / scale), 4))


# ---------------------------------------------------------------- use


@torch.no_grad()
def _means(vae: AutoencoderKL, images: np.ndarray, batch: int = 128) -> Iterator[Tensor]:
    """Posterior means in float32, (b, c, h, w) per batch, on the model's device."""
    for start in range(0, len(images), batch):
        yield vae.encode(
            to_pixels(images[start : start + batch], vae.device)
        ).latent_dist.mean.float()


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of the round trip through the latents' mode, mean over images.

    Args:
        images: uint8 (n, 128, 128, 3).
    """
    values = []
    for start, latents in enumerate(_means(vae, images)):
        decoded = vae.decode(latents).sample.float().clamp(-1, 1)
        pixels = to_pixels(images[start * 128 : start * 128 + len(latents)], vae.device)
        mse = ((decoded - pixels) / 2).square().mean((1, 2, 3))  # (b,), pixels in [0, 1]
        values.append(-10 * mse.clamp_min(1e-10).log10())
    return float(torch.cat(values).mean())


def _fingerprint(vae: AutoencoderKL, images: np.ndarray) -> str:
    """Changes with the weights, the scaling or the images."""
    digest = hashlib.sha256()
    for value in vae.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps([vae.config.scaling_factor, list(images.shape)]).encode())
    digest.update(np.ascontiguousarray(images[:: max(1, len(images) // 64)]).tobytes())
    return digest.hexdigest()[:16]


def encode_all(
    vae: AutoencoderKL,
    images: np.ndarray,
    folder: str | Path,
    *,
    part: int = 8192,
    progress: bool = True,
) -> Tensor:
    """Scaled latent modes of all images, float16 (n, c, 16, 16) on the CPU; cached in ``folder``.

    Written part by part, so a killed run goes on where it stopped. Parts carry a fingerprint
    of the VAE and the images in their names: stale ones are removed.
    """
    from tqdm.auto import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    key = _fingerprint(vae, images)
    for path in folder.glob("latents-*.npy"):
        if key not in path.name:
            path.unlink()
    parts = []
    for start in tqdm(
        range(0, len(images), part), desc="latents", unit="part", disable=not progress
    ):
        path = folder / f"latents-{key}-{start:07d}.npy"
        if not path.exists():
            buffer = io.BytesIO()
            with autocast(vae.device):  # its rounding is far below the noise that diffusion adds
                means = torch.cat(list(_means(vae, images[start : start + part], 64)))
            np.save(buffer, (means * vae.config.scaling_factor).half().cpu().numpy())
            atomic_write_bytes(path, buffer.getvalue())
        parts.append(torch.from_numpy(np.load(path)))
    log_line(folder.parent, f"latents: {len(images)} images encoded")
    return torch.cat(parts)


@torch.no_grad()
def decode_images(vae: AutoencoderKL, latents: Tensor) -> np.ndarray:
    """Scaled latents (b, c, 16, 16) to uint8 (b, 128, 128, 3)."""
    with autocast(vae.device, False):
        pixels = vae.decode(latents.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
    return _bytes(pixels)


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
        parts.append(_bytes(decoded))
    return np.concatenate(parts)


def _bytes(pixels: Tensor) -> np.ndarray:
    """(b, 3, h, w) in [-1, 1] to uint8 (b, h, w, 3)."""
    scaled = pixels.float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
