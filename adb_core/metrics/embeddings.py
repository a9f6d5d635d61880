"""CLIP's embeddings of pictures and of texts. Axes: n pictures or texts, c channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from ..judges import Clip


@torch.no_grad()
def embed_images(
    clip: Clip, images: Sequence[np.ndarray] | np.ndarray, batch: int = 64
) -> np.ndarray:
    """CLIP image embeddings (n, c) of uint8 (h, w, 3) pictures of any sizes."""
    model: Any = clip.model
    parts = []
    for start in range(0, len(images), batch):
        some = list(images[start : start + batch])
        pixels = clip.processor(images=some, return_tensors="pt").pixel_values
        output = model.get_image_features(pixel_values=pixels.to(model.device))
        parts.append(_features(output))
    return np.concatenate(parts)


@torch.no_grad()
def embed_texts(clip: Clip, texts: Sequence[str]) -> np.ndarray:
    """CLIP text embeddings (n, c)."""
    model: Any = clip.model
    length = model.config.text_config.max_position_embeddings
    tokens = clip.tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt", max_length=length
    )
    return _features(model.get_text_features(input_ids=tokens.input_ids.to(model.device)))


def _features(output: Any) -> np.ndarray:
    """transformers 5 returns an output object, 4 a tensor."""
    return getattr(output, "pooler_output", output).float().cpu().numpy()
