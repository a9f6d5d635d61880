"""Photos to latents, once: the cached views that every step of training draws from.

Axes: n photos, K views of each, b of them at once, c channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Base, Posterior
from .concept import Concept
from .engine import TrainingError
from .images import Augmentation, views
from .system.memory import is_out_of_memory, memory_text, release_memory


def check_resolution(base: Base, side: int | None) -> int:
    """Pixels a side that a model shall be trained at; None is its own.

    Raises:
        TrainingError: its VAE and U-Net cannot halve such a picture as often as they have to.
    """
    if side is None:
        return base.side
    unet: Any = base.parts["unet"]
    halvings = len(unet.config.block_out_channels) - 1
    unit = base.side // base.latent_side * 2**halvings
    if side % unit:
        near = max(unit, round(side / unit) * unit)
        raise TrainingError(
            f"resolution {side} does not divide by {unit}, as this model needs: use {near}, "
            f"or leave it at the model's own {base.side}"
        )
    return side


@torch.no_grad()
def encode_views(
    base: Base,
    concept: Concept,
    count: int,
    seed: int,
    augmentation: Augmentation,
    side: int | None = None,
    progress: bool = False,
) -> Posterior:
    """Augment and encode every photo once: means and deviations, (K * n, c, y, x), scaled.

    Args:
        side: pixels of a view, where they are not the model's own.

    Raises:
        TrainingError: memory runs out with a single view.
    """
    from tqdm.auto import tqdm

    side = side or base.side
    pixels = torch.from_numpy(views(concept.images, side, count, seed, augmentation))
    # 16 of the tiny model's, 4 at 512 pixels, where each takes 0.6 GiB: more save no time
    batch, parts, done = max(1, min(16, 2**20 // side**2)), [], 0
    with tqdm(total=len(pixels), desc="encode views", disable=not progress) as bar:
        while done < len(pixels):
            some = pixels[done : done + batch]  # (b, side, side, 3) uint8
            part = _encoded(base, some)
            if part is None and batch == 1:
                raise TrainingError(
                    f"memory ran out while the views were encoded, one of {side} pixels at a time: "
                    "lower --resolution, or close other programs"
                )
            if part is None:
                batch = batch // 2
                continue
            parts.append(part)
            done += len(some)
            bar.update(len(some))
            bar.set_postfix(memory=memory_text(base.device), refresh=False)
    return Posterior(torch.cat([p.mean for p in parts]), torch.cat([p.std for p in parts]))


def _encoded(base: Base, pixels: Tensor) -> Posterior | None:
    """Views (b, side, side, 3) uint8 to latents; None where they do not fit into memory."""
    try:
        pictures = pixels.to(base.device).permute(0, 3, 1, 2).to(base.dtype) / 127.5 - 1
        return base.encode_pictures(pictures)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    return None
