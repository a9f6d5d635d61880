"""What may be in the air: drawn over the place and behind everything that stands in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pen import Pen, darken, ellipse, polygon
from .scene import RGB

RAINBOW: tuple[RGB, ...] = (
    (224, 62, 62), (244, 150, 50), (250, 222, 80), (90, 182, 96), (70, 130, 222), (140, 84, 190),
)  # fmt: skip
CONFETTI: tuple[RGB, ...] = ((236, 70, 90), (250, 200, 60), (80, 170, 230), (110, 200, 110))
LANTERNS: tuple[RGB, ...] = ((236, 84, 60), (250, 190, 70), (244, 120, 150))


def rainbow(p: Pen, rng: np.random.Generator) -> None:
    x, r = rng.uniform(26, 38), rng.uniform(25, 28)
    for k, color in enumerate(RAINBOW):
        q = r - 2.0 * k
        p.line(f"M{x - q:.2f} 40A{q:.2f} {q:.2f} 0 0 1 {x + q:.2f} 40", color, 2.2)


def rain(p: Pen, rng: np.random.Generator) -> None:
    lean = rng.uniform(1.0, 2.0)
    for row in range(5):
        for column in range(7):
            x = 9.6 * column + rng.uniform(0, 6) - 2
            y = 10.0 * row + rng.uniform(0, 5)
            p.line(f"M{x:.2f} {y:.2f}l{-lean:.2f} 5.2", (150, 196, 244), 1.0)


def confetti(p: Pen, rng: np.random.Generator) -> None:
    for k in range(30):
        x, y = rng.uniform(1, 63), rng.uniform(1, 42)
        a = rng.uniform(0, np.pi)
        c, s = 1.6 * np.cos(a), 1.6 * np.sin(a)
        box = polygon(
            (x + c, y + s), (x - s * 0.7, y + c * 0.7), (x - c, y - s), (x + s * 0.7, y - c * 0.7)
        )
        p.path(box, CONFETTI[k % len(CONFETTI)])


def lanterns(p: Pen, rng: np.random.Generator) -> None:
    sag, y = rng.uniform(5, 8), rng.uniform(2, 4)
    p.line(f"M-1 {y:.2f}Q32 {y + 2 * sag:.2f} 65 {y:.2f}", (70, 52, 48), 0.8)
    for k in range(6):
        t = (k + 0.5) / 6
        x, drop = 66 * t - 1, y + 4 * sag * t * (1 - t)
        color = LANTERNS[k % len(LANTERNS)]
        p.path(ellipse(x, drop + 3.0, 2.7, 3.2), color, darken(color, 0.5), 0.6)
        p.path(ellipse(x - 0.7, drop + 2.2, 0.8, 1.2), (255, 244, 200), opacity=0.7)


SKY: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    f.__name__: f for f in (rainbow, rain, confetti, lanterns)
}
