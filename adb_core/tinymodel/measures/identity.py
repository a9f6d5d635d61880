"""Whether the judge knows an individual again: in another scene, degraded, among its like."""

from __future__ import annotations

import numpy as np

from ...metrics.similarity import auc
from ..degrade import DEGRADATIONS
from ..judge import as_pixels
from ..pipeline import Models
from ..relatives import TRAITS
from ..rows import Row
from ..scenes import draw, identity_pairs, lot, near_misses
from ..vae import round_trips


def measure_identity(models: Models, count: int, seed: int) -> list[Row]:
    """Same-instance AUC against others of the same category, clean and under each degradation."""
    scenes, category = identity_pairs(count, seed)
    images = draw(scenes, seed + 3)
    clean = models.judge.identity(images)
    first = clean[0::2]  # (n, c)
    other = ~np.eye(count, dtype=bool)
    kin = other & (category[:, None] == category[None])

    def row(what: str, second: np.ndarray, wrong: np.ndarray, bar: float | None) -> Row:
        likeness = first @ second.T  # (n, n); true pairs on the diagonal
        value = auc(likeness.diagonal(), likeness[wrong])
        return Row("judge", f"same-instance AUC, {what}", value, bar, "AUC", count)

    rows = [
        row("against others of the same category", clean[1::2], kin, 0.98),
        row("against all others", clean[1::2], other, None),
    ]
    for name, worse in degraded(models, images[1::2]).items():
        rows.append(row(f"second picture with {name}", models.judge.identity(worse), kin, 0.95))
    return rows


def degraded(models: Models, images: np.ndarray) -> dict[str, object]:
    """The pictures under each degradation, and after a round trip through the VAE."""
    pixels = as_pixels(images)
    worse: dict[str, object] = {name: change(pixels) for name, change in DEGRADATIONS.items()}
    return {**worse, "a round trip through the VAE": round_trips(models.pipe.vae, images)}


def measure_near_misses(models: Models, count: int, seed: int) -> list[Row]:
    """AUC of the same individual against one that differs in a single trait, for each trait."""
    rows = []
    for number, trait in enumerate(TRAITS):
        scenes = near_misses(trait, count, lot(seed, 10 + number))
        vectors = models.judge.identity(draw(scenes, seed + 20 + number))
        anchor, same, other = vectors[0::3], vectors[1::3], vectors[2::3]  # (n, c) each
        value = auc((anchor * same).sum(1), (anchor * other).sum(1))
        what = f"same-instance AUC, against a near miss of another {trait}"
        rows.append(Row("judge", what, value, 0.93, "AUC", count))
    return rows
