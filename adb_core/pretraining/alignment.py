"""Drawing the U-Net's features towards what tiny-clip's vision tower sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..system.fingerprints import fingerprint
from ..tinymodel.clip import embed_patches
from ..tinymodel.pixels import to_pixels
from ..tinymodel.precision import autocast
from ..tinymodel.tokenizer import TEXT_WIDTH
from ..tinymodel.unet import WIDTHS
from .cache import Cache
from .parts import PART, Parts, kept_parts

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPModel


class Alignment(nn.Module):
    """How far the U-Net's 8x8 features are from tiny-clip's 8x8 patches (REPA, Yu et al. 2024).

    A small U-Net learns what things are slowly from noise alone. The vision tower knows it
    already, one state for each 16x16 pixels, which is one for each position of the U-Net's second
    level. A small head maps features to states; it is thrown away after training. No mask is
    involved: the vision tower has seen pictures and captions, nothing else.

    Args:
        unet: watched by a hook while :meth:`watching`; its weights are not this module's.
        channels: of the features; width: of the states.
    """

    def __init__(
        self, unet: UNet2DConditionModel, channels: int = WIDTHS[1], width: int = TEXT_WIDTH
    ):
        super().__init__()
        self.head = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, width)
        )
        self._layer = [unet.down_blocks[1].attentions[-1]]  # in a list: not a submodule
        self._features: Tensor | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        def keep(module, args, output) -> None:
            self._features = output[0]  # (b, c, 8, 8)

        handle = self._layer[0].register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()
            self._features = None

    def forward(self, states: Tensor) -> Tensor:
        """1 - cosine of the last pass's features and ``states`` (b, 64, c), mean over all."""
        features = self._features.flatten(2).transpose(1, 2)  # (b, 64, c)
        mapped = self.head(features).float()
        return 1 - nn.functional.cosine_similarity(mapped, states.float(), dim=-1).mean()


@torch.no_grad()
def patch_states(clip: CLIPModel, images: np.ndarray, batch: int = 256) -> Tensor:
    """What tiny-clip's vision tower says of each patch: float16 (n, 64, c), on the CPU.

    Args:
        images: uint8 (n, 128, 128, 3).
    """
    parts = []
    for start in range(0, len(images), batch):
        pixels = to_pixels(images[start : start + batch], clip.device)
        with autocast(clip.device):
            states = embed_patches(clip, clip.vision_model(pixel_values=pixels))
        parts.append(states.half().cpu())
    return torch.cat(parts)


def kept_patches(
    clip: CLIPModel, cache: Cache, folder: Path, *, size: int = PART, progress: bool = True
) -> Parts:
    """:func:`patch_states` of a cache's pictures, kept in ``folder``: they take minutes.

    Args:
        size: pictures of a part.

    Raises:
        DiskFull: no space left (16 kB a picture); what was written stays.
    """

    def make(start: int, stop: int) -> np.ndarray:
        return patch_states(clip, cache.images[start:stop]).numpy()

    return kept_parts(
        folder, _key(clip, cache), len(cache.images), make, size=size, progress=progress
    )


def _key(clip: CLIPModel, cache: Cache) -> str:
    """Changes with CLIP's weights, the device that computes, or the pictures."""
    images, manifest = cache.images, cache.folder / "manifest.json"

    def parts() -> Iterator[bytes | str]:
        yield f"1 {clip.device.type} {images.shape}"
        yield manifest.read_text(encoding="utf-8") if manifest.exists() else "no manifest"
        yield np.ascontiguousarray(images[:: max(1, len(images) // 64)]).tobytes()
        for name, value in sorted(clip.state_dict().items()):
            yield name
            yield value.detach().cpu().contiguous().numpy().tobytes()

    return fingerprint(parts(), b"\0")[:16]
