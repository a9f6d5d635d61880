"""The latents that the U-Net learns from: evened out, and encoded once for all pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..system.files import atomic_write_bytes, sweep
from ..system.fingerprints import fingerprint
from ..tinymodel.precision import autocast
from ..tinymodel.vae import posterior_means
from .stage_files import log_line

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

UNSEEN = 0.1  # least weight of a direction of the latents' errors, where the mean is 1


@torch.no_grad()
def normalize_latents(vae: AutoencoderKL, images: np.ndarray) -> None:
    """Make every latent channel mean 0 and standard deviation 1, in the two 1x1 convolutions.

    A scaling factor alone cannot center the latents nor even out the channels, and diffusion
    adds the same noise to all of them. The round trip stays the same; ``scaling_factor``
    (1 / std, what diffusers' pipelines apply) is then 1 to rounding.
    """
    latents = torch.cat(list(posterior_means(vae, images)))  # (n, c, h, w)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))  # (c,)
    c = len(mean)
    # (2c, 2c, 1, 1), (2c,): means, then log variances
    weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
    weight[:c] /= std[:, None, None, None]
    bias[:c] = (bias[:c] - mean) / std
    bias[c:] -= 2 * std.log()
    weight, bias = vae.post_quant_conv.weight, vae.post_quant_conv.bias  # (c, c, 1, 1), (c,)
    bias += weight[:, :, 0, 0] @ mean
    weight *= std[None, :, None, None]
    scale = torch.cat(list(posterior_means(vae, images[:1024]))).std()
    vae.register_to_config(scaling_factor=round(float(1 / scale), 4))


@torch.no_grad()
def pixel_metric(vae: AutoencoderKL, latents: Tensor, step: float = 0.2) -> Tensor:
    """How much of an error of the latents is seen: W (c, c), so that W e is an error in pixels.

    The mean squared error of the decoded picture is close to a quadratic form of the error e of
    the latents; W is its root, scaled so that an error of no preferred direction keeps its size.
    It is measured on both sides of the latents, by the same noise in one channel after another.
    Half of the channels of a VAE may hardly be seen, and a loss that weighs all alike spends most
    of itself on them. None is given up: no direction counts less than :data:`UNSEEN`.

    Args:
        latents: (n, c, h, w), scaled as the U-Net has them, on any device; a dozen suffice.
        step: standard deviation of the noise, in that of the latents.
    """
    scaled = latents.to(vae.device).float()
    noise = torch.randn(scaled[:, :1].shape, generator=torch.Generator().manual_seed(0))
    moves = step * noise.to(vae.device)
    c = scaled.shape[1]
    changes = []
    for channel in range(c):
        one = nn.functional.one_hot(torch.tensor(channel), c).to(scaled).view(1, c, 1, 1)
        ahead, behind = (
            vae.decode((scaled + sign * moves * one) / vae.config.scaling_factor).sample
            for sign in (1, -1)
        )
        changes.append((ahead - behind).flatten())
    seen = torch.stack(changes)  # (c, pixels)
    weights, directions = torch.linalg.eigh(seen @ seen.T)
    weights = (weights / weights.mean()).clamp(min=UNSEEN)
    return (directions * (weights / weights.mean()).sqrt()).T.contiguous().cpu()


def _key(vae: AutoencoderKL, images: np.ndarray) -> str:
    """Changes with the weights, the scaling or the images."""

    def parts() -> Iterator[bytes | str]:
        for value in vae.state_dict().values():
            yield value.detach().cpu().contiguous().numpy().tobytes()
        yield json.dumps([vae.config.scaling_factor, list(images.shape)])
        yield np.ascontiguousarray(images[:: max(1, len(images) // 64)]).tobytes()

    return fingerprint(parts())[:16]


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
    key = _key(vae, images)
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
                means = torch.cat(list(posterior_means(vae, images[start : start + part], 64)))
            np.save(buffer, (means * vae.config.scaling_factor).half().cpu().numpy())
            atomic_write_bytes(path, buffer.getvalue())
        parts.append(torch.from_numpy(np.load(path)))
    log_line(folder.parent, f"latents: {len(images)} images encoded")
    return torch.cat(parts)
