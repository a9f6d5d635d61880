"""Whether tiny-clip finds the caption of a picture, and the picture of a caption."""

from __future__ import annotations

import numpy as np

from ...toyworld.grammar import plain_caption
from ...toyworld.scene import Scene
from ..clip import retrieval
from ..pipeline import Models
from ..rows import Row, share_row


def measure_clip(models: Models, scenes: list[Scene], images: np.ndarray) -> list[Row]:
    """Top-1 retrieval among n pairs with distinct plain captions, both directions."""
    both = retrieval(models.clip, models.tokenizer, images, [plain_caption(s) for s in scenes])
    n = len(scenes)
    hits = np.arange(2 * n) < round(sum(both.values()) * n)
    rows = [share_row("tiny-clip", "retrieval top-1, mean of both directions", hits, 0.95)]
    return rows + [
        share_row("tiny-clip", name.replace("_", " "), np.arange(n) < round(value * n), None)
        for name, value in both.items()
    ]
