"""What some losses compare with, taken once, before anything is trained.

Axes: K views of each of n photos, y x pixels, c channels of a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .attention import cross_attention_layers
from .base import Base
from .concept import Concept
from .concept_token import ConceptToken
from .engine import TrainingError
from .images import Augmentation, views
from .recipes import Recipe


def view_masks(
    concept: Concept, side: int, count: int, seed: int, augmentation: Augmentation
) -> Tensor:
    """The subject's mask in every view that is trained on, (K * n, y, x) in [0, 1].

    Args:
        side, count, seed, augmentation: as of :func:`adb_core.images.views`, for the same crops.
    """
    pictures = [np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255 for mask in concept.masks]
    cut = views(pictures, side, count, seed, augmentation)[..., 0]
    return torch.from_numpy(cut).float() / 255


def check_masks(concept: Concept, recipe: Recipe) -> None:
    """Find out whether a recipe that is shown the true masks has them.

    Raises:
        TrainingError: it has not.
    """
    if recipe.needs_masks and not concept.masks:
        raise TrainingError(
            f"recipe {recipe.name!r} compares maps with the photos' masks, and concept "
            f"{concept.name!r} has none: name them in its concept.json, or choose another recipe"
        )


@torch.no_grad()
def category_keys(base: Base, unet: Any, token: ConceptToken) -> Sequence[Tensor]:
    """W_K h of the category in "a photo of a <category>", of each cross-attention layer, (c,).

    Args:
        unet: as it is before training. The mean of the keys of a category of several pieces.
    """
    row = token.tokenize([f"a photo of a {token.category}"])[0].tolist()
    n = len(token.category_ids)
    start = next(k for k in range(len(row)) if row[k : k + n] == token.category_ids)
    ids = torch.tensor([row], device=token.rows.device)
    state = base.encode_prompts(ids, token.text).tokens[0, start : start + n].mean(0)  # (d,)
    return [module.to_k(state) for module in cross_attention_layers(unet).values()]
