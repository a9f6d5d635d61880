"""Accessories, which sit on a subject's anchors, and the second objects, drawn around (0, 0)."""

from __future__ import annotations

from collections.abc import Callable

from .pen import Pen, darken, ellipse, lighten, polygon, rounded
from .scene import RGB
from .subjects import INK, WHITE, Anchors

# ---------------------------------------------------------------- accessories


def hat(p: Pen, a: Anchors) -> None:
    x, y = a.top
    w = max(6.4, min(a.head, 8.5))
    felt: RGB = (62, 46, 96)
    d = rounded(x - w * 0.72, y - 10.5, w * 1.44, 11.5, 1.4)
    p.path(d, felt, darken(felt, 0.7), 1.0)
    p.shade(d)
    p.path(rounded(x - w * 0.74, y - 3.6, w * 1.48, 3.0, 0.4), (226, 62, 84))
    p.path(rounded(x - w * 1.35, y - 0.8, w * 2.7, 2.8, 1.3), felt, darken(felt, 0.7), 1.0)


def crown(p: Pen, a: Anchors) -> None:
    x, y = a.top
    w = max(6.6, min(a.head, 8.6))
    gold: RGB = (252, 204, 52)
    b, t = y + 1.6, y - 7.6
    d = polygon(
        (x - w, b),
        (x - w * 1.15, t + 1),
        (x - w * 0.5, b - 5.2),
        (x, t - 1.2),
        (x + w * 0.5, b - 5.2),
        (x + w * 1.15, t + 1),
        (x + w, b),
    )
    p.path(d, gold, (128, 82, 6), 1.1)
    p.shade(d, 0.8)
    for k, c in ((-0.55, (70, 130, 230)), (0.0, (226, 50, 66)), (0.55, (70, 180, 100))):
        p.path(ellipse(x + k * w, b - 2.3, 1.25, 1.25), c)


def scarf(p: Pen, a: Anchors) -> None:
    x, y, w = a.neck
    red, white = (222, 40, 62), (250, 244, 236)
    if w == 0:  # a fish: the scarf goes around the body
        d = (
            f"M{x - 2.6} {y - 9.6}Q{x - 6.6} {y} {x - 2.6} {y + 9.6}L{x + 2.6} {y + 9.6}"
            f"Q{x - 1.4} {y} {x + 2.6} {y - 9.6}Z"
        )
        tail = polygon((x - 2.2, y + 7), (x + 2.8, y + 7), (x + 3.6, y + 15), (x - 1.8, y + 15.4))
        bars = [
            (x - 5.6, y - 5.6, x + 1.0, y - 5.6),
            (x - 6.4, y, x, y),
            (x - 5.6, y + 5.6, x + 1.0, y + 5.6),
        ]
        low = (x + 0.8, y + 13)
    else:
        d = (
            f"M{x - w - 1} {y - 2.6}Q{x} {y + 2.2} {x + w + 1} {y - 2.6}L{x + w + 1.4} {y + 1.8}"
            f"Q{x} {y + 6.6} {x - w - 1.4} {y + 1.8}Z"
        )
        tail = polygon(
            (x + w * 0.2, y + 1.4),
            (x + w * 0.2 + 5, y + 0.6),
            (x + w * 0.2 + 5.8, y + 11),
            (x + w * 0.2 + 0.4, y + 11.6),
        )
        bars = [
            (x + k * w, y - 1.4 + 2.4 * (1 - k * k), x + k * w * 0.95, y + 2.8 + 2.4 * (1 - k * k))
            for k in (-0.62, 0.0, 0.62)
        ]
        low = (x + w * 0.2 + 2.9, y + 9)
    p.path(tail, red, darken(red, 0.6), 1.0)
    p.line(f"M{low[0] - 2.4} {low[1]}h5", white, 1.6)
    p.path(d, red, darken(red, 0.6), 1.0)
    for x1, y1, x2, y2 in bars:
        p.line(f"M{x1:.2f} {y1:.2f}L{x2:.2f} {y2:.2f}", white, 1.5)


def glasses(p: Pen, a: Anchors) -> None:
    x, y, gap = a.eyes
    r = max(3.3, min(gap * 0.96, 4.4))
    p.line(
        f"M{x - gap - r} {y - 0.4}L{x - gap - r - 3.2} {y - 2}M{x + gap + r} {y - 0.4}"
        f"L{x + gap + r + 3.2} {y - 2}M{x - gap + r} {y}H{x + gap - r}",
        INK,
        1.7,
    )
    for s in (-1, 1):
        lens = ellipse(x + s * gap, y, r, r)
        p.path(lens, (70, 84, 116), INK, 1.9)
        p.line(f"M{x + s * gap - 1.8} {y + 0.6}l2.2 -2.4", (214, 232, 250), 1.2)


def balloon(p: Pen, a: Anchors) -> None:
    hx, hy = -a.hand[0], a.hand[1]
    x, y = hx - 3.0, min(-a.height - 1.5, -35.0)
    skin: RGB = (238, 56, 72)
    p.line(f"M{hx} {hy}Q{x + 3} {(hy + y) / 2} {x} {y + 8}", (70, 64, 72), 0.9)
    p.path(
        polygon((x - 1.6, y + 9.4), (x, y + 7), (x + 1.6, y + 9.4)), skin, darken(skin, 0.6), 0.8
    )
    d = ellipse(x, y, 6.6, 7.8)
    p.path(d, skin, darken(skin, 0.6), 1.1)
    p.shade(d, 0.8)
    p.path(ellipse(x - 2.4, y - 3, 1.3, 1.9), WHITE, opacity=0.8)


def umbrella(p: Pen, a: Anchors) -> None:
    x, y = a.top[0], a.top[1] - 3.2
    teal, cream = (20, 168, 160), (252, 244, 222)
    r = 17.5
    hx = x - 10.5
    p.line(f"M{hx} {a.hand[1] + 2}V{y}", (92, 62, 44), 1.5)
    for k in range(4):
        x0, x1 = x - r + k * r / 2, x - r + (k + 1) * r / 2
        d = (
            f"M{x0} {y}Q{(x0 + x1) / 2} {y - 3} {x1} {y}"
            f"Q{(x1 + x * 1.6) / 2.6} {y - 9} {x} {y - 11.5}"
            f"Q{(x0 + x * 1.6) / 2.6} {y - 9} {x0} {y}Z"
        )
        p.path(d, teal if k % 2 == 0 else cream, darken(teal, 0.6), 0.9)
    p.shade(
        f"M{x - r} {y}Q{x - r * 0.8} {y - 11.5} {x} {y - 11.5}"
        f"Q{x + r * 0.8} {y - 11.5} {x + r} {y}Z",
        0.7,
    )
    p.line(f"M{x} {y - 11.5}v-2", (92, 62, 44), 1.3)


# ---------------------------------------------------------- second objects (about 15 wide, 14 tall)


def ball(p: Pen) -> None:
    d = ellipse(0, -7, 7.4, 7.4)
    p.path(d, (250, 248, 244), (52, 50, 66), 1.1)
    with p.clip(d):
        for k, c in ((-1, (228, 58, 62)), (1, (48, 112, 214))):
            p.path(f"M0 -14.6C{k * 3} -11 {k * 3} -3 0 0.6C{k * 8.5} -1 {k * 8.5} -13 0 -14.6Z", c)
        p.path(ellipse(0, -14, 3.4, 2.2), (252, 206, 60))
    p.shade(d)


def box(p: Pen) -> None:
    card: RGB = (206, 158, 104)
    p.path(
        polygon((-8, -10.4), (-5.2, -13.6), (9.6, -13.6), (7, -10.4)),
        lighten(card, 0.3),
        darken(card, 0.6),
        1.0,
    )
    p.path(
        polygon((7, -10.4), (9.6, -13.6), (9.6, -3.4), (7, 0)),
        darken(card, 0.25),
        darken(card, 0.6),
        1.0,
    )
    d = rounded(-8, -10.4, 15, 10.4, 0.4)
    p.path(d, card, darken(card, 0.6), 1.0)
    p.path(
        polygon((-1.8, -10.4), (0.8, -13.4), (3.4, -13.4), (1.0, -10.4), (1.0, -6.8), (-1.8, -6.8)),
        (238, 216, 170),
    )
    p.shade(d, 0.6)


def drum(p: Pen) -> None:
    red: RGB = (200, 44, 56)
    d = "M-8 -10V-2.4Q0 1.6 8 -2.4V-10Z"
    p.path(d, red, darken(red, 0.65), 1.0)
    p.line("M-7.4 -8L-4.6 -2L-1.8 -7.4L1 -1L3.8 -7.4L6.6 -2.6", (252, 226, 130), 1.2)
    p.shade(d, 0.7)
    p.path(ellipse(0, -10.4, 8, 2.9), (250, 240, 218), (120, 84, 30), 1.1)
    p.line("M-9.6 -15.4L-2.4 -10.8M9.6 -15.8L2.6 -10.6", (152, 104, 60), 1.4)


def cake(p: Pen) -> None:
    d = rounded(-8, -9.4, 16, 9.4, 1.4)
    p.path(d, (250, 222, 178), (132, 84, 56), 1.0)
    p.line("M-7.4 -3.4H7.4", (206, 122, 84), 1.5)
    p.shade(d, 0.6)
    p.path(
        "M-8.4 -9.6Q-8.4 -11.6 -6 -11.6H6Q8.4 -11.6 8.4 -9.6V-7.4Q6.6 -4.6 5 -7.2"
        "Q3.2 -4.8 1.4 -7.2Q-1 -4.4 -2.8 -7.2Q-4.8 -4.8 -6 -7.2Q-8.2 -5.4 -8.4 -7.4Z",
        (255, 140, 178),
        (150, 62, 92),
        0.9,
    )
    p.path(rounded(-1.0, -15.2, 2.0, 4.0, 0.4), (120, 196, 250), (50, 90, 140), 0.5)
    p.path(ellipse(0, -16.8, 1.2, 1.8), (255, 196, 60), (220, 110, 20), 0.6)


def pumpkin(p: Pen) -> None:
    c: RGB = (240, 126, 28)
    for x, rx in ((-4.4, 4.2), (4.4, 4.2), (0, 4.8)):
        p.path(ellipse(x, -6.4, rx, 6.6), c, darken(c, 0.55), 1.0)
    p.shade(ellipse(0, -6.4, 8.4, 6.6), 0.8)
    p.path("M-1.4 -12.4L-0.6 -16L2.4 -16.4L1.4 -12.4Z", (90, 140, 60), (40, 76, 28), 0.9)


def plant(p: Pen) -> None:
    leaf: RGB = (60, 156, 72)
    for s, tilt in ((-1, 44), (1, 44), (-1, 14), (1, 14)):
        with p.group(f'transform="rotate({s * tilt} 0 -6)"'):
            p.path(f"M0 -6Q{-3.6} -11 0 -17Q3.6 -11 0 -6Z", leaf, darken(leaf, 0.6), 0.9)
    d = polygon((-5.6, -7), (5.6, -7), (4.2, 0), (-4.2, 0))
    p.path(d, (200, 104, 66), (104, 48, 28), 1.0)
    p.path(rounded(-6.4, -8.4, 12.8, 2.6, 0.6), (216, 122, 80), (104, 48, 28), 0.9)
    p.shade(d, 0.6)


WEAR: dict[str, Callable[[Pen, Anchors], None]] = {
    f.__name__: f for f in (hat, crown, scarf, glasses, balloon, umbrella)
}
PUT: dict[str, Callable[[Pen], None]] = {
    f.__name__: f for f in (ball, box, drum, cake, pumpkin, plant)
}
