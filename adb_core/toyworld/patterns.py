"""The patterns of a coat: each paints the individual's second color over a box.

Whoever calls clips to the body. A box is ``(cx, cy, rx, ry)``: its middle and half its sides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pen import Pen, ellipse, polygon, rounded
from .scene import Instance

Box = tuple[float, float, float, float]


def spots(p: Pen, i: Instance, box: Box) -> None:
    """Every second cell of a 4x4 grid has one; the individual's layout says where in it."""
    rng = np.random.default_rng(i.layout)
    cx, cy, rx, ry = box
    n = 4
    for a, b in ((a, b) for a in range(n) for b in range(n)):
        if (a + b) % 2 == 0:
            jx, jy = rng.uniform(-0.18, 0.18, 2)
            x, y = cx + rx * (2 * (a + 0.5 + jx) / n - 1), cy + ry * (2 * (b + 0.5 + jy) / n - 1)
            p.path(ellipse(x, y, 2.1, 2.1), i.secondary)


def stripes(p: Pen, i: Instance, box: Box) -> None:
    cx, cy, rx, ry = box
    left, right = cx - rx - 2, cx + rx + 2
    for k in range(-2, 3):
        y = cy + ry * k / 1.9
        bow = f"M{left:.2f} {y + 2:.2f}Q{cx:.2f} {y - 3:.2f} {right:.2f} {y + 2:.2f}"
        p.band(bow, i.secondary, 2.1)


def patch(p: Pen, i: Instance, box: Box) -> None:
    cx, cy, rx, ry = box
    p.path(ellipse(cx + 0.5, cy + ry * 0.35, rx * 0.62, ry * 0.66), i.secondary)


def checks(p: Pen, i: Instance, box: Box) -> None:
    cx, cy, _, _ = box
    w = 5.2
    for a, b in ((a, b) for a in range(-5, 6) for b in range(-6, 7)):
        if (a + b) % 2 == 0:
            x, y, x1, y1 = cx + a * w, cy + b * w, cx + (a + 1) * w, cy + (b + 1) * w
            p.path(polygon((x, y), (x1, y), (x1, y1), (x, y1)), i.secondary)


def zigzag(p: Pen, i: Instance, box: Box) -> None:
    cx, cy, rx, ry = box
    for k in (-1, 0, 1):
        y = cy + ry * k * 0.72
        points = (
            f"{cx + a * rx / 2.3:.2f} {y + (2.6 if a % 2 else -2.6):.2f}" for a in range(-4, 5)
        )
        p.band("M" + "L".join(points), i.secondary, 3.0)


def half(p: Pen, i: Instance, box: Box) -> None:
    cx, cy, rx, ry = box
    p.path(rounded(cx, cy - ry - 3, rx + 4, 2 * ry + 6, 0.1), i.secondary)


def rings(p: Pen, i: Instance, box: Box) -> None:
    cx, cy, rx, ry = box
    for r in (1.0, 0.52):
        p.path(ellipse(cx, cy, rx * r * 0.86, ry * r * 0.86), i.secondary)
        p.path(ellipse(cx, cy, rx * r * 0.86 - 2.2, ry * r * 0.86 - 2.2), i.primary)


PATTERN: dict[str, Callable[[Pen, Instance, Box], None]] = {
    f.__name__: f for f in (spots, stripes, patch, checks, zigzag, half, rings)
}
