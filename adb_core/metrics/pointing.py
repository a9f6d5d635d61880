"""Where a map lies: the pointing game, intersection over union, overlap. No torch.

Axes: n photos, t timesteps, y x cells of a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

CELL_SHARE = 0.25  # of a cell's pixels must be an element's for the cell to count as on it


def mask_cells(mask: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """Share of each map cell that a photo's bool mask (h, w) fills, (y, x) in [0, 1].

    The mask's largest centered square is used, which is what the model sees of a photo.
    """
    h, w = mask.shape
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    square = mask[top : top + side, left : left + side]
    # sums[r, c]: pixels of the mask above row r and left of column c
    sums = np.pad(square.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    (y0, y1), (x0, x1) = (_edges(side, count) for count in cells)
    inside = (  # (y, x)
        sums[np.ix_(y1, x1)] - sums[np.ix_(y0, x1)] - sums[np.ix_(y1, x0)] + sums[np.ix_(y0, x0)]
    )
    return inside / np.outer(y1 - y0, x1 - x0)


def _edges(side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one pixel of each cell; cells share a pixel where they do not divide."""
    k = np.arange(count)
    return k * side // count, -(-(k + 1) * side // count)


def cells_on(shares: np.ndarray) -> np.ndarray:
    """Cells that count as on an element: at least a quarter of their pixels are its own.

    Of something too thin to fill a quarter of any cell (glasses), the fullest cells count, so that
    no element is impossible to hit. An empty mask has none.

    Args:
        shares: (y, x) of :func:`mask_cells`.

    Returns:
        bool (y, x).
    """
    return (shares > 0) & (shares >= min(CELL_SHARE, shares.max()))


def peak(word_map: np.ndarray) -> tuple[int, int]:
    """Row and column of a map's largest value."""
    row, column = np.unravel_index(int(np.argmax(word_map)), word_map.shape)
    return int(row), int(column)


def where(word_map: np.ndarray) -> str:
    """The place of a map's largest value, in words."""
    y, x = peak(word_map)
    vertical = ("top", "middle", "bottom")[3 * y // word_map.shape[0]]
    return f"{vertical} {('left', 'centre', 'right')[3 * x // word_map.shape[1]]}"


def pointing_hit(word_map: np.ndarray, on: np.ndarray) -> bool:
    """Whether the largest cell of a map (y, x) is on the element, bool (y, x).

    The pointing game (Zhang et al. 2016).
    """
    return bool(on[peak(word_map)])


def threshold(word_map: np.ndarray) -> np.ndarray:
    """Cells above the map's mean plus its standard deviation, bool (y, x).

    One line, nothing to tune, and the same for any scale and offset of the map, so that [V]'s
    small probabilities and a category's large ones are treated alike. A flat map has no cells.
    """
    mean, spread = float(np.mean(word_map, dtype=float)), float(np.std(word_map, dtype=float))
    return word_map > mean + max(spread, 1e-6 * abs(mean))  # rounding lifts no cell of a flat map


def iou(word_map: np.ndarray, on: np.ndarray) -> float:
    """Intersection over union of the thresholded map and the element's cells, in [0, 1]."""
    seen = threshold(word_map)
    union = (seen | on).sum()
    return float((seen & on).sum() / union) if union else 0.0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Histogram intersection of two maps (y, x), each normalized to sum 1.

    Returns:
        A share in [0, 1]; 1 if the maps have one shape.
    """
    return float(np.minimum(a / max(a.sum(), 1e-12), b / max(b.sum(), 1e-12)).sum())


def total_variation(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation of two maps (y, x), each normalized to sum 1: half the sum of differences.

    Unlike the regularizer's mean and variance it sees where a map lies: two maps with the same
    moments and no cell in common have 1. It is 1 - :func:`overlap`, for maps that are not empty.

    Returns:
        In [0, 1]; 0 if the maps have one shape.
    """
    return float(0.5 * np.abs(a / max(a.sum(), 1e-12) - b / max(b.sum(), 1e-12)).sum())


def map_distances(maps: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """:func:`total_variation` of [V]'s and the category's maps, (n * t,); None without both.

    Args:
        maps: as of :func:`map_quality`.
    """
    if not {"v", "category"} <= maps.keys():
        return None
    pairs = zip(
        *(maps[name].reshape(-1, *maps[name].shape[2:]) for name in ("v", "category")), strict=True
    )
    return np.array([total_variation(a, b) for a, b in pairs])


def map_quality(
    maps: Mapping[str, np.ndarray], masks: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """How well the maps of :func:`adb_core.metrics.photo_maps` lie on the subject.

    Args:
        maps: "v" (and perhaps "category") -> (n, t, y, x). masks: n bool (h, w).

    Returns:
        Name -> (n * t,): "pointing" and "iou" of [V] and of the category, in [0, 1];
        "pointing_chance", the share of cells on the subject; and "ratio", [V]'s mean attention
        over the category's (1 is the regularizer's aim, paper section 3.2), >= 0.
    """
    on = [cells_on(mask_cells(mask, maps["v"].shape[-2:])) for mask in masks]
    quality: dict[str, list[float]] = {}
    for name, end in (("v", ""), ("category", "_category")):
        if name not in maps:
            continue
        pairs = [(word_map, o) for by_t, o in zip(maps[name], on, strict=True) for word_map in by_t]
        quality["pointing" + end] = [float(pointing_hit(m, o)) for m, o in pairs]
        quality["iou" + end] = [iou(m, o) for m, o in pairs]
        if name == "v":
            quality["pointing_chance"] = [float(o.mean()) for _, o in pairs]
    if "category" in maps:
        means = (maps[name].mean((2, 3)) for name in ("v", "category"))  # (n, t) each
        quality["ratio"] = list(np.divide(*means).reshape(-1))
    return {name: np.array(values, dtype=float) for name, values in quality.items()}
