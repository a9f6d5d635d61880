"""The arithmetic of the evaluation: intervals, ranks and hits. No torch."""

from __future__ import annotations

import math

import numpy as np

CELL_SHARE = 0.25  # of a map cell's pixels must belong to an element for the cell to count as on it


def psnr(truth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Decibels per picture, float (n,), of uint8 or float arrays (n, ...) on the 0..255 scale."""
    error = (
        ((truth.astype(np.float64) - other.astype(np.float64)) ** 2).reshape(len(truth), -1).mean(1)
    )
    return 10 * np.log10(255.0**2 / np.maximum(error, 1e-10))


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % Wilson score interval of a share; (0, 1) if nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    p, denominator = hits / count, 1 + z * z / count
    middle = (p + z * z / (2 * count)) / denominator
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / denominator
    return max(0.0, middle - half), min(1.0, middle + half)


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Chance that a random positive scores above a random negative; ties count half."""
    positives, negatives = np.asarray(positives, float), np.sort(np.asarray(negatives, float))
    below = np.searchsorted(negatives, positives, "left")
    ties = np.searchsorted(negatives, positives, "right") - below
    return float((below + ties / 2).sum() / (len(positives) * len(negatives)))


def cell_shares(mask: np.ndarray, cells: int = 16) -> np.ndarray:
    """Share of each map cell's pixels that lie in a bool mask (side, side): float (cells, cells)."""
    size = mask.shape[0] // cells
    return mask.reshape(cells, size, cells, size).mean((1, 3))


def cells_on(mask: np.ndarray, cells: int = 16) -> np.ndarray:
    """Cells that count as on an element: at least a quarter of their pixels belong to it.

    Thin things (glasses) may fill no cell so far; then their fullest cells count, so that no
    element is impossible to hit. An empty mask has none.
    """
    shares = cell_shares(mask, cells)
    return (shares > 0) & (shares >= min(CELL_SHARE, shares.max()))


def peak(word_map: np.ndarray) -> tuple[int, int]:
    """Row and column of a map's largest value."""
    row, column = np.unravel_index(int(np.argmax(word_map)), word_map.shape)
    return int(row), int(column)


def pointing_hit(word_map: np.ndarray, mask: np.ndarray, inside: bool = True) -> tuple[bool, float]:
    """(whether the map's peak lies on the mask, or off it; the chance of that for a random cell).

    Args:
        word_map: (cells, cells). mask: bool (side, side).
        inside: False asks for the peak OFF the mask (a place word off the subject).
    """
    good = cells_on(mask, len(word_map))
    good = good if inside else ~good
    return bool(good[peak(word_map)]), float(good.mean())
