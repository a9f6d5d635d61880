"""How much of a picture is left after the VAE: of fresh renders, and of the concepts' photos."""

from __future__ import annotations

import numpy as np
import torch

from ...metrics.similarity import psnr
from ...toyworld.concepts import photos
from ...toyworld.portraits import PORTRAITS
from ...toyworld.prompts import complexity
from ...toyworld.render import render_image
from ...toyworld.truth import true_picture
from ..pipeline import Models
from ..pixels import to_pixels
from ..rows import Row
from ..vae import round_trips


def measure_vae(models: Models, images: np.ndarray) -> list[Row]:
    """PSNR of encode-decode (the posterior's mode), mean over pictures uint8 (n, h, w, 3)."""
    vae, parts = models.pipe.vae, []
    with torch.inference_mode():
        for start in range(0, len(images), 50):
            pixels = to_pixels(images[start : start + 50], vae.device)
            latents = vae.encode(pixels).latent_dist.mode()
            parts.append(vae.decode(latents).sample.clamp(-1, 1).permute(0, 2, 3, 1).cpu().numpy())
    decibels = psnr(images, (np.concatenate(parts) + 1) * 127.5)
    half = 1.96 * decibels.std() / np.sqrt(len(decibels))
    mean = float(decibels.mean())
    low, high = mean - half, mean + half
    return [Row("VAE", "PSNR of held-out renders", mean, 30.0, "dB", len(images), low, high)]


def measure_concepts(models: Models) -> list[Row]:
    """What the VAE leaves of the concepts: PSNR of their photos, and their identity."""
    shots = np.stack([render_image(*photo) for p in PORTRAITS for photo in photos(p)])
    rounded = round_trips(models.pipe.vae, shots)
    per = len(shots) // len(PORTRAITS)
    before = models.judge.identity(shots).reshape(len(PORTRAITS), per, -1)
    after = models.judge.identity(rounded).reshape(before.shape)
    # each photo against the concept's other photos, as they are and after the round trip
    off = ~np.eye(per, dtype=bool)
    raw = np.array([(b @ b.T)[off].mean() for b in before])
    kept = np.array([(a @ b.T)[off].mean() for a, b in zip(after, before, strict=True)]) / raw
    decibel = float(psnr(shots, rounded).mean())
    group, n = "concepts", len(PORTRAITS)
    return [
        Row(group, "PSNR of the photos after the VAE", decibel, 30.0, "dB", len(shots)),
        Row(group, "identity, a photo against the others", float(raw.mean()), None, "cosine", n),
        Row(group, "share of identity after the VAE, mean", float(kept.mean()), 0.97, "share", n),
        Row(group, "share of identity after the VAE, worst", float(kept.min()), 0.92, "share", n),
    ]


def measure_truth(models: Models, per_concept: int = 12) -> list[Row]:
    """What the VAE leaves of true pictures: each concept in scenes that complex prompts ask for.

    Identity is measured against the concept's photos; a perfect model would score what is left.
    ``per_concept`` prompts are taken in turn from those that ask for five and for four things.
    """
    asked = [p["asks"] for pair in zip(complexity(5), complexity(4), strict=True) for p in pair]
    raw, kept = [], []
    for number, who in enumerate(PORTRAITS):
        shots = models.judge.identity(np.stack([render_image(*photo) for photo in photos(who)]))
        true = np.stack(
            [
                true_picture(who.category, who.instance, asks, 100 * number + k)
                for k, asks in enumerate(asked[:per_concept])
            ]
        )
        for found, pictures in ((raw, true), (kept, round_trips(models.pipe.vae, true))):
            found.append(float((models.judge.identity(pictures) @ shots.T).mean()))
    n = len(PORTRAITS) * min(per_concept, len(asked))
    share = float(np.mean(kept) / np.mean(raw))
    return [
        Row(
            "concepts", "identity of true complex pictures", float(np.mean(raw)), None, "cosine", n
        ),
        Row("concepts", "share of it after the VAE", share, 0.95, "share", n),
    ]
