"""Boxes in a picture, as shares of its sides. No torch until a box is laid over cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 0.05  # of a side: a narrower box holds less than a cell of any map


class BoxError(ValueError):
    """A box that nothing can be put into; one line with the cure."""


@dataclass(frozen=True)
class Box:
    """A part of a picture: left, top, right and bottom as shares of its sides, 0 to 1.

    Raises:
        BoxError: no area, or not inside the picture.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        edges = (self.left, self.top, self.right, self.bottom)
        said = "Box({}, {}, {}, {})".format(*(f"{edge:g}" for edge in edges))
        if not all(math.isfinite(edge) for edge in edges):
            raise BoxError(f"{said} is no box: give four numbers from 0 to 1")
        if min(edges) < 0 or max(edges) > 1:
            raise BoxError(
                f"{said} reaches out of the picture: left, top, right and bottom are shares of its "
                "sides, from 0 to 1"
            )
        # rounding of shares such as 0.3 - 0.25 must not decide
        if min(self.right - self.left, self.bottom - self.top) < LEAST - 1e-9:
            raise BoxError(
                f"{said} has hardly any area: its right side must be at least {LEAST:g} right of "
                f"its left one, and its bottom as far below its top"
            )

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """The box of a size with its center at (x, y), or as near to it as fits into the picture.

        Raises:
            BoxError: no area, or wider or higher than the picture.
        """
        if not (LEAST <= width <= 1 and LEAST <= height <= 1):
            raise BoxError(
                f"a box of {width:g} x {height:g} does not fit: both are shares of the picture's "
                f"sides, from {LEAST:g} to 1"
            )
        left = min(max(x - width / 2, 0.0), 1 - width)
        top = min(max(y - height / 2, 0.0), 1 - height)
        return cls(left, top, min(left + width, 1.0), min(top + height, 1.0))

    @property
    def area(self) -> float:
        """Share of the picture."""
        return (self.right - self.left) * (self.bottom - self.top)

    def cover(self, cells: tuple[int, int]) -> np.ndarray:
        """How much of each cell of a map lies inside, float32 (y, x) in [0, 1]."""

        def along(low: float, high: float, count: int) -> np.ndarray:
            edges = np.arange(count + 1) / count
            return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, 1) * count

        columns, rows = (
            along(self.left, self.right, cells[1]),
            along(self.top, self.bottom, cells[0]),
        )
        return np.outer(rows, columns).astype(np.float32)

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels of a picture; the last two belong to the box."""
        right, bottom = round(self.right * width) - 1, round(self.bottom * height) - 1
        left, top = round(self.left * width), round(self.top * height)
        return min(left, right), min(top, bottom), right, bottom


def share_inside(maps: Tensor, box: Box) -> Tensor:
    """Share of each map's mass that lies in a box, (...,) in [0, 1], of maps (..., y, x)."""
    import torch

    rows, columns = maps.shape[-2:]
    inside = torch.from_numpy(box.cover((rows, columns))).to(maps)
    return (maps * inside).sum((-2, -1)) / maps.sum((-2, -1)).clamp_min(1e-12)


def outlined(
    picture: np.ndarray, box: Box, color: tuple[int, int, int] = (255, 0, 90)
) -> np.ndarray:
    """A picture, uint8 (h, w, 3), with a box drawn on it."""
    height, width = picture.shape[:2]
    left, top, right, bottom = box.pixels(height, width)
    thick = max(1, height // 128)
    drawn = picture.copy()
    drawn[top : bottom + 1, left : left + thick] = color
    drawn[top : bottom + 1, max(left, right + 1 - thick) : right + 1] = color
    drawn[top : top + thick, left : right + 1] = color
    drawn[max(top, bottom + 1 - thick) : bottom + 1, left : right + 1] = color
    return drawn
