"""What one pass of the U-Net leaves behind: what every loss is computed from.

Axes: b batch, c channels, h heads, q query pixels, k tokens, L layers, n read tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .base import TextStates
from .learner import Learner
from .regularizer import Statistics


@dataclass(frozen=True)
class Batch:
    """One step's random choices.

    Attributes:
        rows: of the view cache, (b,); prompts: numbers of the stage's prompts, (b,).
        latents, noise: (b, c, y, x); timesteps: (b,).
        lot: one more random number, the same for all of the step's parts.
    """

    rows: np.ndarray
    prompts: np.ndarray
    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    lot: int = 0

    def part(self, parts: int, number: int) -> Batch:
        """One of ``parts`` equal pieces."""
        n = len(self.rows) // parts
        piece = slice(number * n, (number + 1) * n)
        return Batch(
            self.rows[piece],
            self.prompts[piece],
            self.latents[piece],
            self.noise[piece],
            self.timesteps[piece],
            self.lot,
        )


@dataclass(frozen=True)
class Forward:
    """One pass of the U-Net over a batch: what the losses are computed from.

    Attributes:
        batch: its random choices; predicted, target: (b, c, y, x).
        layers: of the capture, by name; none where nothing was read.
        v, category: (L, b) statistics of their maps, of several tokens the mean of each token's;
            None where they were not read.
        vectors: (L, b) statistics of each vector of [V].
        maps: layer -> (b, h, q, n), the maps themselves: [V]'s first, then the category's; of
            several tokens the mean of their maps.
        selection: (b or 1, k, n), which tokens' maps these are.
        learner, states: whose pass it was, and what it read, (b, k, d).
    """

    batch: Batch
    predicted: Tensor
    target: Tensor
    layers: tuple[str, ...] = ()
    v: Statistics | None = None
    category: Statistics | None = None
    vectors: tuple[Statistics, ...] = ()
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    selection: Tensor | None = None
    learner: Learner | None = None
    states: TextStates | None = None


def joined(columns: Tensor, count: int) -> Tensor:
    """(..., n) of ``count`` vectors and the category's pieces -> (..., 2), or (..., 1) without one.

    Where each is a single token nothing is computed.
    """
    if columns.shape[-1] <= 2 and count == 1:
        return columns
    groups = [g for g in (columns[..., :count], columns[..., count:]) if g.shape[-1]]
    return torch.stack([group.mean(-1) for group in groups], -1)
