"""Where [V] has gone among the words, by the numbers that a learner looks at.

Axes: v rows (vectors) of the concept, n words of the vocabulary, d channels of the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


@dataclass(frozen=True)
class Drift:
    """Where [V] is among the words.

    Attributes:
        distance: Euclidean distance to its initial value; cosines to that and to the category.
        norm, vocabulary_norm: length of the row and mean length of the vocabulary's rows.
        nearest: (word, cosine) of the nearest vocabulary words, best first.
    """

    distance: float
    cosine_to_start: float
    cosine_to_category: float
    norm: float
    vocabulary_norm: float
    nearest: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Vocabulary:
    """A token table (n, d) with its tokenizer, and which of its rows belong to [V] and category."""

    table: Tensor
    tokenizer: Any
    v: Sequence[int]
    category: Sequence[int]


def measure_drift(rows: Tensor, initial: Tensor, words: Vocabulary, nearest: int = 5) -> Drift:
    """How far rows are from where they began, (v, d) each; the mean over rows counts."""
    table = words.table.float()
    known = torch.ones(len(table), dtype=torch.bool)
    known[list(words.v)] = False
    row, start = rows.detach().float().mean(0), initial.to(rows.device).mean(0)  # (d,)
    category = table[list(words.category)].mean(0)
    vocabulary = table[known]  # (n - v, d)
    top = cosine_similarity(row[None], vocabulary).topk(nearest)
    numbers = torch.arange(len(table), device=table.device)[known][top.indices].tolist()
    names = [w.replace("</w>", "") for w in words.tokenizer.convert_ids_to_tokens(numbers)]
    return Drift(
        distance=float((row - start).norm()),
        cosine_to_start=float(cosine_similarity(row, start, dim=0)),
        cosine_to_category=float(cosine_similarity(row, category, dim=0)),
        norm=float(row.norm()),
        vocabulary_norm=float(vocabulary.norm(dim=1).mean()),
        nearest=tuple(zip(names, top.values.tolist(), strict=True)),
    )


class Projection:
    """A 2-D principal-component projection, fitted once on a vocabulary: a fixed map for drift."""

    def __init__(self, table: Tensor):
        """``table``: (n, d)."""
        table = table.detach().float().cpu()
        self.mean = table.mean(0)
        _, _, axes = torch.linalg.svd(table - self.mean, full_matrices=False)
        axes = axes[:2]
        # the sign of a principal axis is arbitrary: fix it, so that every machine draws one map
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        self.axes = axes * torch.where(largest < 0, -1.0, 1.0)

    def __call__(self, rows: Tensor) -> Tensor:
        """(..., d) -> (..., 2)."""
        return (rows.detach().float().cpu() - self.mean) @ self.axes.T
