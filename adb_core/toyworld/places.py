"""The eight places and the plain backdrop, drawn over the whole canvas, horizon near y = 40."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pen import Pen, darken, ellipse, lighten, polygon, rounded
from .scene import RGB, mix

ALL = "M0 0H64V64H0Z"


def _sky(p: Pen, top: RGB, bottom: RGB) -> None:
    p.path(ALL, mix(top, bottom, 0.5))
    p.gradient(ALL, [(0, top, 1), (0.7, bottom, 1), (1, bottom, 1)])


def _ground(p: Pen, y: float, near: RGB, far: RGB, bump: float = 0.0) -> None:
    d = f"M0 {y}Q20 {y - bump} 36 {y}T64 {y - bump * 0.5}V64H0Z"
    p.path(d, mix(near, far, 0.5))
    p.gradient(d, [(0, far, 1), (1, near, 1)])
    if p.style in ("sketch", "pixel art"):
        p.line(f"M0 {y}Q20 {y - bump} 36 {y}T64 {y - bump * 0.5}", darken(far, 0.4), 0.8)


def _vary(rng: np.random.Generator, rgb: RGB, amount: int = 9) -> RGB:
    return tuple(int(v) for v in np.clip(np.add(rgb, rng.integers(-amount, amount + 1)), 0, 255))


def beach(p: Pen, rng: np.random.Generator) -> None:
    y = rng.uniform(37, 41)
    _sky(p, _vary(rng, (104, 184, 240)), (214, 238, 250))
    x = rng.uniform(8, 56)
    p.path(ellipse(x, rng.uniform(8, 14), 5.2, 5.2), (255, 226, 110), (240, 180, 60), 0.6)
    p.path(f"M0 {y - 10}H64V{y + 2}H0Z", (38, 132, 196))
    p.line(f"M0 {y - 10}H64", (26, 100, 160), 0.7)
    for k in range(3):
        p.line(
            f"M{rng.uniform(2, 50):.1f} {y - 7 + 2.4 * k:.1f}h{rng.uniform(6, 12):.1f}",
            (150, 210, 238),
            0.9,
        )
    _ground(p, y, (236, 204, 130), (248, 226, 166), 2.4)
    p.line(f"M0 {y}Q20 {y - 2.4} 36 {y}T64 {y - 1.2}", (250, 250, 250), 1.3)


def snow(p: Pen, rng: np.random.Generator) -> None:
    y = rng.uniform(38, 42)
    _sky(p, _vary(rng, (150, 178, 212)), (222, 232, 244))
    for k in range(2):
        x = rng.uniform(0, 30) + 32 * k
        p.path(
            polygon((x - 18, y + 2), (x, y - rng.uniform(14, 20)), (x + 18, y + 2)),
            (186, 204, 226),
            (130, 152, 184),
            0.7,
        )
        p.path(polygon((x - 5, y - 10), (x, y - 17), (x + 5, y - 10), (x, y - 8)), (250, 252, 255))
    _ground(p, y, (250, 252, 255), (226, 236, 248), 4.0)
    for _ in range(9):
        p.path(
            ellipse(rng.uniform(2, 62), rng.uniform(2, y), 1.25, 1.25),
            (255, 255, 255),
            (160, 184, 214) if p.style == "sketch" else None,
            0.4,
        )


def forest(p: Pen, rng: np.random.Generator) -> None:
    y = rng.uniform(39, 43)
    _sky(p, _vary(rng, (142, 198, 150)), (206, 232, 188))
    for row, (tone, n, h0) in enumerate((((74, 140, 92), 5, 24), ((32, 100, 62), 4, 32))):
        for k in range(n):
            x = (k + 0.5) * 64 / n + rng.uniform(-4, 4) + (6 if row else 0)
            h = h0 + rng.uniform(-3, 5)
            p.path(rounded(x - 1.2, y - 5, 2.4, 7, 0.3), (96, 66, 44))
            for part in (0.0, 0.34):
                w = 6.8 * (1 - part * 0.8)
                p.path(
                    polygon(
                        (x - w, y - 3 - h * part),
                        (x, y - h * (0.72 + part * 0.84)),
                        (x + w, y - 3 - h * part),
                    ),
                    tone,
                    darken(tone, 0.4),
                    0.7,
                )
    _ground(p, y, (76, 136, 62), (112, 170, 84), 2.0)


def city(p: Pen, rng: np.random.Generator) -> None:
    y = rng.uniform(43, 46)
    _sky(p, _vary(rng, (40, 32, 84)), (128, 84, 140))
    x = -3.0
    while x < 64:
        w, h = rng.uniform(9, 13), rng.uniform(16, 36)
        tone = _vary(rng, (58, 56, 98), 10)
        p.path(rounded(x, y - h, w, h + 2, 0.2), tone, (28, 26, 54), 0.8)
        for a in range(2):
            for b in range(int(h // 7)):
                if rng.random() < 0.72:
                    p.path(
                        rounded(x + 1.8 + a * (w - 3.0) / 2, y - h + 2.6 + b * 6.6, 2.5, 3.2, 0.2),
                        (255, 220, 112),
                    )
        x += w + rng.uniform(0.2, 1.5)
    _ground(p, y, (70, 70, 84), (92, 92, 108))
    for k in range(4):
        p.path(rounded(3 + 17 * k, 58.6, 8, 1.7, 0.4), (236, 226, 180))


def moon(p: Pen, rng: np.random.Generator) -> None:
    y = rng.uniform(39, 43)
    _sky(p, (10, 10, 26), (22, 22, 48))
    for _ in range(11):
        p.path(
            ellipse(rng.uniform(1, 63), rng.uniform(1, y - 3), 0.75, 0.75),
            (250, 250, 255),
            (110, 110, 130) if p.style == "sketch" else None,
            0.4,
        )
    ex, ey = rng.uniform(8, 56), rng.uniform(8, 13)
    p.path(ellipse(ex, ey, 5.6, 5.6), (64, 140, 222), (30, 66, 120), 0.6)
    p.path(ellipse(ex - 1.4, ey - 1.4, 2.6, 2.0), (110, 196, 120))
    p.path(ellipse(ex + 2.2, ey + 2, 1.8, 1.3), (110, 196, 120))
    _ground(p, y, (136, 136, 146), (178, 178, 186), 3.0)
    for _ in range(4):
        cx, cy, r = rng.uniform(2, 62), rng.uniform(y + 5, 62), rng.uniform(2.4, 4.6)
        p.path(ellipse(cx, cy, r, r * 0.42), (116, 116, 128), (92, 92, 104), 0.6)


def sea(p: Pen, rng: np.random.Generator) -> None:
    _sky(p, _vary(rng, (62, 168, 214)), (12, 62, 138))
    for k in range(3):
        x = rng.uniform(2, 20) + 20 * k
        p.path(
            polygon((x, 0), (x + 5, 0), (x - 4, 46), (x - 13, 46)), (190, 234, 250), opacity=0.16
        )
    y = rng.uniform(50, 53)
    _ground(p, y, (196, 182, 132), (160, 160, 136), 2.0)
    for side in (rng.uniform(3, 10), rng.uniform(54, 61)):
        for k in (-2.6, 0.6, 3.4):
            h, x = rng.uniform(13, 24), side + k
            p.line(
                f"M{x:.1f} 60q-3.4 {-h / 3:.1f} 0 {-h / 2:.1f}t0 {-h / 2:.1f}", (30, 138, 92), 2.0
            )
    for _ in range(6):
        p.path(
            ellipse(rng.uniform(3, 61), rng.uniform(4, 44), 1.5, 1.5),
            (150, 216, 244),
            (226, 246, 255),
            0.7,
        )


def kitchen(p: Pen, rng: np.random.Generator) -> None:
    wall = _vary(rng, (250, 226, 180))
    _sky(p, wall, darken(wall, 0.06))
    y = rng.uniform(42, 45)
    for k in range(1, 4):
        p.line(f"M0 {k * 11}H64", darken(wall, 0.14), 0.7)
    for k in range(1, 6):
        p.line(f"M{k * 11} 0V{y:.1f}", darken(wall, 0.14), 0.7)
    x = rng.uniform(3, 40)
    p.path(rounded(x, 5, 20, 17, 0.8), (176, 220, 246), (250, 250, 250), 2.2)
    p.line(f"M{x + 10} 5V22M{x} 13.5H{x + 20}", (250, 250, 250), 1.8)
    sx = x - 19 if x > 22 else x + 25
    p.path(rounded(sx, 17, 15, 2.2, 0.4), (150, 98, 58), (90, 54, 28), 0.6)
    for k, c in enumerate(((210, 84, 74), (84, 150, 160))):
        p.path(rounded(sx + 2 + 6.4 * k, 11.4, 4.6, 5.6, 1.0), c, darken(c, 0.5), 0.7)
    _ground(p, y, (158, 102, 62), (186, 126, 80))
    p.line(f"M0 {y + 0.6}H64", (112, 68, 38), 1.2)


def desert(p: Pen, rng: np.random.Generator) -> None:
    y = rng.uniform(40, 43)
    _sky(p, _vary(rng, (236, 128, 74)), (252, 212, 150))
    p.path(ellipse(rng.uniform(10, 54), rng.uniform(12, 19), 6.4, 6.4), (255, 244, 200))
    x = rng.uniform(0, 38)
    p.path(
        polygon((x, y), (x + 4, y - 14), (x + 19, y - 14), (x + 24, y)),
        (182, 92, 62),
        (130, 58, 40),
        0.7,
    )
    p.line(f"M{x + 2.4} {y - 8}H{x + 21}", (150, 70, 48), 0.9)
    _ground(p, y, (208, 134, 64), (234, 172, 96), 5.0)
    p.line(f"M0 {y + 11}Q18 {y + 5} 34 {y + 11}T64 {y + 9}", (188, 112, 52), 1.0)


def plain(p: Pen, rng: np.random.Generator) -> None:
    wall = tuple(int(v) for v in rng.integers(204, 236, 3))
    p.path(ALL, wall)
    p.gradient(ALL, [(0, lighten(wall, 0.25), 1), (1, wall, 1)])
    _ground(p, rng.uniform(42, 46), darken(wall, 0.16), darken(wall, 0.1))


PLACE: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    f.__name__: f for f in (beach, snow, forest, city, moon, sea, kitchen, desert, plain)
}
