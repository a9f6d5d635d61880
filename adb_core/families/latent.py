"""What all families share: pictures become latents, and a U-Net predicts their noise.

Axes: b batch, c channels of a latent, y, x.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from .. import loading
from ..loading import BaseModelError
from ..seam import Posterior


class LatentDiffusion(ABC):
    """A base model's parts but for its text: see :class:`adb_core.seam.Base`."""

    name: str
    revision: str | None
    vae: Any
    unet: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype

    subject = None  # no concept was learned
    concept = None
    words = ()
    recipe_name = "base"

    @property
    @abstractmethod
    def parts(self) -> dict[str, torch.nn.Module]:
        """Everything with weights, by name."""

    @property
    def prediction_type(self) -> str:
        """What the U-Net predicts, "epsilon" or "v_prediction"."""
        return self.scheduler.config.prediction_type

    @property
    def latent_side(self) -> int:
        return self.unet.config.sample_size

    @property
    def side(self) -> int:
        # every block of the VAE but the last halves the picture
        return self.latent_side * 2 ** (len(self.vae.config.block_out_channels) - 1)

    def expand(self, prompt: str) -> str:
        return prompt

    def encode_pictures(self, pixels: Tensor) -> Posterior:
        found = self.vae.encode(pixels.to(self.dtype)).latent_dist
        scale = self.vae.config.scaling_factor
        return Posterior(found.mean.float() * scale, found.std.float() * scale)

    def fingerprint(self) -> str:
        configs = (self.vae.config, self.unet.config, self.scheduler.config)
        return loading.fingerprint(self.parts.values(), configs)

    def check_words(self, tokenizer: Any, encoder: Any) -> None:
        """Find a tokenizer that is not its text encoder's.

        Raises:
            BaseModelError: it has fewer words, or more.
        """
        rows, words = encoder.config.vocab_size, len(tokenizer)
        if not rows - 64 <= words <= rows:  # rows may be rounded up
            raise BaseModelError(
                f"{self.name}: its tokenizer has {words} words, its text encoder {rows}: "
                "a file of its tokenizer is missing or another model's; "
                "download it again, or use 'tiny'"
            )
