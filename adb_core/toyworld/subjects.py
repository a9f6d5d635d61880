"""The fourteen subjects. Each function draws one category around (0, 0), the middle of its foot,
about 36 units tall with y upwards negative, and returns where accessories go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .patterns import PATTERN
from .pen import Pen, darken, ellipse, lighten, polygon, rounded, star
from .scene import RGB, Instance, mix

INK: RGB = (34, 28, 38)
WHITE: RGB = (255, 255, 255)
CREAM: RGB = (248, 232, 204)
EYES = 1.15  # size of all eyes
CHEEK = (2.3, 1.7)
CHEEK_COLORS: tuple[RGB, RGB] = (250, 104, 120), (200, 60, 84)


@dataclass(frozen=True)
class Anchors:
    """Places on a subject, in its own units: (x, y) pairs and widths."""

    top: tuple[float, float]  # middle of the head's upper edge
    head: float  # half width of the head near the top
    eyes: tuple[float, float, float]  # middle of the face and half the distance between the eyes
    neck: tuple[float, float, float]  # middle and half width of the neck
    hand: tuple[float, float]  # where the right side can hold something
    height: float


# ---------------------------------------------------------------- surface: pattern, mark, light


def _skin(
    p: Pen,
    i: Instance,
    d: str,
    box: tuple[float, float, float, float],
    color: RGB | None = None,
    pattern: bool = True,
    light: float = 1.0,
) -> None:
    """One part of the body: fill, pattern, light and outline."""
    color = color or i.primary
    line = darken(color, 0.62) if sum(color) > 200 else lighten(color, 0.28)
    p.path(d, color)
    if pattern and i.pattern != "plain":
        with p.clip(d):
            PATTERN[i.pattern](p, i, box)
    p.shade(d, light)
    p.line(d, line if p.style != "sketch" else INK, 1.2) if p.style != "painting" else None


# A mark has its own color, whoever wears it: a word can mean it, and it is seen on any coat.
MARK_COLORS: dict[str, RGB] = {
    "star": (255, 214, 62),
    "heart": (232, 46, 76),
    "bolt": (255, 250, 236),
    "moon": (168, 222, 255),
}
MARK_SIZE = 1.3


def _mark(p: Pen, i: Instance, x: float, y: float) -> None:
    if i.mark not in MARK_COLORS:
        return
    k = MARK_SIZE
    shapes = {
        "star": star(x, y, 4.4 * k),
        "heart": (
            f"M{x} {y + 4 * k}C{x - 7 * k} {y - k} {x - 4 * k} {y - 6 * k} {x} {y - 2.2 * k}"
            f"C{x + 4 * k} {y - 6 * k} {x + 7 * k} {y - k} {x} {y + 4 * k}Z"
        ),
        "bolt": polygon(
            *(
                (x + a * k, y + b * k)
                for a, b in ((1.5, -5), (-3.2, 0.8), (-0.4, 0.8), (-1.5, 5), (3.2, -1), (0.4, -1))
            )
        ),
        "moon": (  # an outer arc of radius 5 and an inner one of 4.8 through the same two points
            f"M{x + 2.4 * k} {y - 4.4 * k}A{5 * k} {5 * k} 0 1 0 {x + 2.4 * k} {y + 4.4 * k}"
            f"A{4.8 * k} {4.8 * k} 0 0 1 {x + 2.4 * k} {y - 4.4 * k}Z"
        ),
    }
    p.path(shapes[i.mark], MARK_COLORS[i.mark], (40, 26, 40), 1.0)


class Eyes(NamedTuple):
    """The middle of a pair of eyes, half the distance between them, and their size."""

    x: float
    y: float
    gap: float
    size: float = 1.0


def _pair(p: Pen, i: Instance, at: Eyes, white: tuple[float, float], iris: tuple[float, float]):
    """Two eyes; ``white`` and ``iris`` are radii of an eye of size 1."""
    size = at.size * EYES
    for s in (-1, 1):
        x, y = at.x + s * at.gap, at.y
        rim = darken(i.primary, 0.7)
        p.path(ellipse(x, y, white[0] * size, white[1] * size), WHITE, rim, 0.5)
        p.path(ellipse(x + 0.2, y + 0.2, iris[0] * size, iris[1] * size), INK)
        p.path(ellipse(x + 0.7, y - 0.6, 0.6, 0.6), WHITE)


def _cheeks(p: Pen, i: Instance, at: Eyes, drop: float) -> None:
    if i.mark == "cheeks":
        for s in (-1, 1):
            p.path(ellipse(at.x + s * (at.gap + 2.2), at.y + drop, *CHEEK), *CHEEK_COLORS, 0.5)


def _face(p: Pen, i: Instance, at: Eyes, mouth: float = 3.6, nose: RGB | None = None) -> None:
    """Eyes, cheeks, perhaps a nose, and a smile ``mouth`` below the eyes."""
    _cheeks(p, i, at, 3.3)
    _pair(p, i, at, (2.3, 2.6), (1.5, 1.75))
    x, y = at.x, at.y + mouth
    if nose:
        p.path(ellipse(x, y - 0.8, 1.5, 1.05), nose)
    tone = INK if sum(i.primary) > 230 else (225, 222, 228)
    p.line(f"M{x - 1.8} {y + 0.6}Q{x} {y + 2.4} {x + 1.8} {y + 0.6}", tone, 0.9)


def _eyes(p: Pen, i: Instance, at: Eyes) -> None:
    """Eyes (and cheeks) without a mouth."""
    _cheeks(p, i, at, 3.6)
    _pair(p, i, at, (2.2, 2.5), (1.45, 1.7))


# ---------------------------------------------------------------- animals


def _sitting(p: Pen, i: Instance, rx: float, ry: float) -> None:
    """A sitting body with two feet."""
    d = (
        f"M{-rx * 0.62} {-2 * ry}C{-rx * 1.05} {-1.6 * ry} {-rx * 1.25} -1 {-rx * 0.8} 0"
        f"H{rx * 0.8}C{rx * 1.25} -1 {rx * 1.05} {-1.6 * ry} {rx * 0.62} {-2 * ry}Z"
    )
    _skin(p, i, d, (0, -ry, rx, ry))
    for s in (-1, 1):
        _skin(
            p,
            i,
            ellipse(s * rx * 0.55, -1.1, 3.3, 2.1),
            (0, 0, 1, 1),
            lighten(i.primary, 0.15),
            False,
            0.6,
        )


def _cat_ears(p: Pen, i: Instance, hy: float, hr: float) -> None:
    e = 7.5 * i.detail
    for s in (-1, 1):
        _skin(
            p,
            i,
            polygon(
                (s * hr * 0.98, hy - 1),
                (s * hr * 0.86, hy - hr * 0.62 - e),
                (s * hr * 0.15, hy - hr * 0.72),
            ),
            (0, 0, 1, 1),
            None,
            False,
        )
        p.path(
            polygon(
                (s * hr * 0.82, hy - hr * 0.45),
                (s * hr * 0.78, hy - hr * 0.55 - e * 0.6),
                (s * hr * 0.38, hy - hr * 0.7),
            ),
            (244, 168, 176),
        )


def _whiskers(p: Pen, i: Instance, hy: float, hr: float) -> None:
    for s in (-1, 1):
        for k in (-0.6, 0.9):
            p.line(
                f"M{s * hr * 0.62} {hy + 2.6 + k * 0.5}L{s * (hr + 3.2)} {hy + 2 + k * 1.4}",
                darken(i.primary, 0.7) if sum(i.primary) > 230 else (190, 190, 196),
                0.55,
            )


def cat(p: Pen, i: Instance) -> Anchors:
    rx, ry, hr = 9.5 * i.width, 9 * i.height, 9.3 * i.head
    hy = -2 * ry - hr * 0.52
    tail = f"M{rx * 0.7} -3C{rx + 10} -2 {rx + 8} -14 {rx + 3.5} -15"
    p.line(tail, darken(i.primary, 0.6) if p.style != "painting" else i.primary, 4.4)
    p.band(tail, i.primary, 2.8)
    _sitting(p, i, rx, ry)
    _cat_ears(p, i, hy, hr)
    _skin(
        p,
        i,
        ellipse(0, hy, hr * 1.06, hr * 0.86),
        (0, hy - hr * 0.2, hr, hr * 0.7),
        pattern=i.pattern not in ("patch", "rings"),
    )
    _whiskers(p, i, hy, hr)
    _face(p, i, Eyes(0, hy - 0.4, hr * 0.44, 1.0), 3.4, (232, 110, 124))
    _mark(p, i, 0, -ry * 0.95)
    return Anchors(
        (0, hy - hr * 0.8),
        hr * 0.8,
        (0, hy - 0.4, hr * 0.44),
        (0, -2 * ry + 0.6, rx * 0.78),
        (rx * 0.85, -ry * 1.25),
        -hy + hr,
    )


def _muzzle(p: Pen, i: Instance, hy: float, hr: float) -> None:
    p.path(
        ellipse(0, hy + hr * 0.42, hr * 0.62, hr * 0.5),
        lighten(i.primary, 0.55),
        darken(i.primary, 0.5),
        0.7,
    )
    p.line(f"M0 {hy + hr * 0.35}V{hy + hr * 0.62}", INK, 0.9)
    p.path(ellipse(0, hy + hr * 0.2, 2.4, 1.7), INK)
    p.line(f"M-2.4 {hy + hr * 0.56}Q0 {hy + hr * 0.86} 2.4 {hy + hr * 0.56}", INK, 0.9)


def _dog_ears(p: Pen, i: Instance, hy: float, hr: float) -> None:
    ear = (
        darken(i.primary, 0.34)
        if i.secondary[0] > 225 and i.secondary[2] > 180
        else mix(i.secondary, i.primary, 0.2)
    )
    length = 12.5 * i.detail
    for s in (-1, 1):
        d = (
            f"M{s * hr * 0.55} {hy - hr * 0.9}C{s * hr * 1.7} {hy - hr * 1.1} {s * hr * 1.75} "
            f"{hy + length * 0.75} {s * hr * 1.1} {hy + length * 0.62}"
            f"C{s * hr * 0.75} {hy + length * 0.5} {s * hr * 0.9} {hy - 1} {s * hr * 0.55} "
            f"{hy - hr * 0.9}Z"
        )
        _skin(p, i, d, (0, 0, 1, 1), ear, False)


def dog(p: Pen, i: Instance) -> Anchors:
    rx, ry, hr = 9.2 * i.width, 9.2 * i.height, 8.8 * i.head
    hy = -2 * ry - hr * 0.5
    p.line(
        f"M{rx * 0.8} -5Q{rx + 6} -8 {rx + 6} -14",
        darken(i.primary, 0.6) if p.style != "painting" else i.primary,
        4.0,
    )
    p.band(f"M{rx * 0.8} -5Q{rx + 6} -8 {rx + 6} -14", i.primary, 2.6)
    _sitting(p, i, rx, ry)
    _skin(
        p,
        i,
        rounded(-hr * 0.92, hy - hr * 0.95, hr * 1.84, hr * 1.85, hr * 0.8),
        (0, hy, hr, hr * 0.9),
        pattern=i.pattern not in ("patch", "rings"),
    )
    _muzzle(p, i, hy, hr)
    _dog_ears(p, i, hy, hr)
    eyes = Instance(i.primary, i.secondary, mark=i.mark)
    _eyes(p, eyes, Eyes(0, hy - hr * 0.28, hr * 0.42))
    _mark(p, i, 0, -ry * 0.9)
    return Anchors(
        (0, hy - hr * 0.88),
        hr * 0.72,
        (0, hy - hr * 0.28, hr * 0.42),
        (0, -2 * ry + 0.8, rx * 0.78),
        (rx * 0.85, -ry * 1.25),
        -hy + hr,
    )


def bear(p: Pen, i: Instance) -> Anchors:
    rx, ry, hr = 11 * i.width, 9 * i.height, 9.4 * i.head
    hy = -2 * ry - hr * 0.42
    for s in (-1, 1):
        _skin(p, i, ellipse(s * rx * 1.02, -ry * 1.2, 3.1, 5.2), (0, 0, 1, 1), None, False, 0.7)
    _skin(p, i, ellipse(0, -ry, rx, ry * 1.06), (0, -ry, rx, ry))
    for s in (-1, 1):
        _skin(p, i, ellipse(s * rx * 0.62, -1.6, 4.0, 3.0), (0, 0, 1, 1), None, False, 0.6)
        p.path(ellipse(s * rx * 0.62, -1.4, 2.0, 1.5), lighten(i.primary, 0.45))
        _skin(
            p,
            i,
            ellipse(s * hr * 0.78, hy - hr * 0.68, 4.0 * i.detail, 4.0 * i.detail),
            (0, 0, 1, 1),
            None,
            False,
        )
        p.path(
            ellipse(s * hr * 0.78, hy - hr * 0.66, 2.0 * i.detail, 2.0 * i.detail),
            lighten(i.primary, 0.45),
        )
    _skin(
        p,
        i,
        ellipse(0, hy, hr * 1.08, hr * 0.95),
        (0, hy, hr, hr * 0.9),
        pattern=i.pattern not in ("patch", "rings"),
    )
    p.path(
        ellipse(0, hy + hr * 0.36, hr * 0.5, hr * 0.38),
        lighten(i.primary, 0.55),
        darken(i.primary, 0.5),
        0.6,
    )
    _face(p, i, Eyes(0, hy - hr * 0.12, hr * 0.46, 0.9), hr * 0.42, INK)
    _mark(p, i, 0, -ry * 0.95)
    return Anchors(
        (0, hy - hr * 0.85),
        hr * 0.72,
        (0, hy - hr * 0.12, hr * 0.46),
        (0, -2 * ry + 1.4, rx * 0.74),
        (rx * 1.1, -ry * 1.2),
        -hy + hr,
    )


def rabbit(p: Pen, i: Instance) -> Anchors:
    rx, ry, hr = 8.6 * i.width, 8.2 * i.height, 8.0 * i.head
    hy = -2 * ry - hr * 0.5
    p.path(ellipse(rx + 1.5, -4, 3.4, 3.2), lighten(i.primary, 0.6), darken(i.primary, 0.5), 0.8)
    _sitting(p, i, rx, ry)
    e = 12.5 * i.detail
    for s in (-1, 1):
        with p.group(f'transform="rotate({s * 11} {s * hr * 0.42} {hy - hr * 0.5})"'):
            _skin(
                p,
                i,
                ellipse(s * hr * 0.45, hy - hr * 0.62 - e * 0.5, 2.9, e * 0.62),
                (0, 0, 1, 1),
                None,
                False,
            )
            p.path(ellipse(s * hr * 0.45, hy - hr * 0.6 - e * 0.5, 1.4, e * 0.45), (246, 172, 182))
    _skin(
        p,
        i,
        ellipse(0, hy, hr * 1.02, hr * 0.9),
        (0, hy, hr, hr * 0.9),
        pattern=i.pattern not in ("patch", "rings"),
    )
    _face(p, i, Eyes(0, hy - 0.6, hr * 0.46, 0.95), 3.3, (236, 110, 130))
    p.path(rounded(-1.5, hy + 5.0, 3.0, 2.4, 0.4), WHITE, darken(i.primary, 0.6), 0.4)
    _mark(p, i, 0, -ry * 0.95)
    return Anchors(
        (0, hy - hr * 0.85),
        hr * 0.66,
        (0, hy - 0.6, hr * 0.46),
        (0, -2 * ry + 0.6, rx * 0.78),
        (rx * 0.9, -ry * 1.2),
        -hy + hr,
    )


def _legs_and_tail(p: Pen, i: Instance, w: float, h: float, by: float) -> None:
    for x in (-2.5, 3.0):
        p.line(f"M{x} {by + h * 0.6}V-0.6M{x - 2} -0.4H{x + 3}", (226, 142, 34), 1.5)
    _skin(
        p,
        i,
        polygon(
            (-w * 0.7, by - 1),
            (-w * 1.65 * i.detail, by - 7),
            (-w * 1.55 * i.detail, by + 1),
            (-w * 0.7, by + 5),
        ),
        (0, 0, 1, 1),
        darken(i.primary, 0.2),
        False,
    )


def bird(p: Pen, i: Instance) -> Anchors:
    w, h, hr = 12 * i.width, 11 * i.height, 7.6 * i.head
    by = -4 - h * 0.9
    hx, hy = w * 0.42, by - h * 0.95
    _legs_and_tail(p, i, w, h, by)
    p.path(
        polygon((hx + hr * 0.7, hy - 2.2), (hx + hr * 0.7 + 7, hy + 1), (hx + hr * 0.6, hy + 3.4)),
        (246, 160, 40),
        (120, 66, 10),
        0.9,
    )
    d = (
        f"M{-w} {by}C{-w} {by + h * 1.15} {w * 0.95} {by + h * 1.2} {w} {by - h * 0.1}"
        f"C{w} {by - h * 0.6} {hx + hr * 0.9} {by - h * 0.4} {hx + hr} {hy}"
        f"A{hr} {hr} 0 0 0 {hx - hr} {hy}C{hx - hr} {by - h * 0.5} {-w} {by - h * 0.6} {-w} {by}Z"
    )
    _skin(p, i, d, (0, by, w, h * 1.1))
    wing = (
        f"M{-w * 0.75} {by - h * 0.1}C{-w * 0.3} {by - h * 0.5} {w * 0.35} {by - h * 0.3} "
        f"{w * 0.4} {by + h * 0.1}C{w * 0.1} {by + h * 0.75} {-w * 0.6} {by + h * 0.6} "
        f"{-w * 0.75} {by - h * 0.1}Z"
    )
    _skin(p, i, wing, (0, 0, 1, 1), darken(i.primary, 0.18), False)
    _eyes(p, i, Eyes(hx + 0.6, hy - 0.6, hr * 0.42, 0.95))
    _mark(p, i, -w * 0.12, by + h * 0.15)
    return Anchors(
        (hx, hy - hr * 0.92),
        hr * 0.78,
        (hx + 0.6, hy - 0.6, hr * 0.42),
        (hx * 0.9, by - h * 0.5, hr * 0.95),
        (w * 0.92, by + h * 0.2),
        -hy + hr,
    )


def _fins(p: Pen, i: Instance, w: float, h: float, cy: float) -> None:
    t = 8.5 * i.detail
    tail = polygon((-w * 0.8, cy), (-w - t, cy - t), (-w - t * 0.55, cy), (-w - t, cy + t))
    back = (
        f"M{-w * 0.5} {cy - h * 0.75}Q{-w * 0.2} {cy - h - 6 * i.detail} {w * 0.3} {cy - h * 0.85}Z"
    )
    belly = (
        f"M{-w * 0.2} {cy + h * 0.85}L{-w * 0.3} {cy + h + 4.5 * i.detail}"
        f"L{w * 0.25} {cy + h * 0.9}Z"
    )
    for fin in (tail, back, belly):
        _skin(p, i, fin, (0, 0, 1, 1), mix(i.primary, i.secondary, 0.35), False)


def fish(p: Pen, i: Instance) -> Anchors:
    w, h = 14.5 * i.width, 10 * i.height * (0.5 + 0.5 * i.head)
    cy = -6 - h
    _fins(p, i, w, h, cy)
    _skin(p, i, ellipse(0, cy, w, h), (-w * 0.1, cy, w, h))
    p.line(
        f"M{w * 0.28} {cy - h * 0.6}Q{w * 0.1} {cy} {w * 0.28} {cy + h * 0.6}",
        darken(i.primary, 0.45),
        0.9,
    )
    ex, ey = w * 0.58, cy - h * 0.22
    _eyes(p, i, Eyes(ex, ey, 3.1, 0.95))
    p.line(
        f"M{w * 0.55} {cy + h * 0.42}Q{w * 0.72} {cy + h * 0.55} {w * 0.86} {cy + h * 0.3}",
        INK if sum(i.primary) > 230 else (220, 220, 226),
        0.9,
    )
    _mark(p, i, -w * 0.2, cy)
    return Anchors(
        (w * 0.2, cy - h * 0.93),
        7.0,
        (ex, ey, 3.1),
        (w * 0.06, cy, 0.0),
        (w * 0.62, cy + h * 0.75),
        -cy + h,
    )


def turtle(p: Pen, i: Instance) -> Anchors:
    w, h, hr = 14.5 * i.width, 15 * i.height, 6.4 * i.head
    skin = lighten(i.primary, 0.34) if sum(i.primary) > 200 else lighten(i.primary, 0.22)
    for x in (-w * 0.6, w * 0.45):
        _skin(p, i, rounded(x - 3.2, -6, 6.4, 6.4, 2.6), (0, 0, 1, 1), skin, False, 0.7)
    p.path(
        polygon((-w * 0.9, -6.5), (-w - 5 * i.detail, -3), (-w * 0.8, -3.4)),
        skin,
        darken(skin, 0.5),
        0.9,
    )
    hx, hy = w * 0.98, -13 - hr * 0.7
    _skin(
        p,
        i,
        f"M{w * 0.5} -5L{hx - hr * 0.7} {hy}H{hx + hr * 0.6}L{w * 1.02} -5Z",
        (0, 0, 1, 1),
        skin,
        False,
        0.5,
    )
    _skin(p, i, ellipse(hx, hy, hr * 1.04, hr * 0.95), (0, 0, 1, 1), skin, False)
    d = f"M{-w} -5C{-w} {-h * 1.5} {w * 0.86} {-h * 1.5} {w * 0.86} -5Z"
    _skin(p, i, d, (0, -5 - h * 0.45, w * 0.9, h * 0.6))
    p.path(
        rounded(-w * 1.04, -6.6, w * 1.96, 3.6, 1.8),
        darken(i.primary, 0.25),
        darken(i.primary, 0.6),
        0.9,
    )
    _face(p, i, Eyes(hx + 0.3, hy - 0.6, hr * 0.44, 0.8), 2.6)
    _mark(p, i, -w * 0.05, -5 - h * 0.5)
    return Anchors(
        (hx, hy - hr * 0.85),
        hr * 0.8,
        (hx + 0.3, hy - 0.6, hr * 0.44),
        (hx - hr * 0.15, hy + hr * 0.98, hr * 0.85),
        (w * 1.0, -7),
        -hy + hr,
    )


# ---------------------------------------------------------------- things


def _limbs(p: Pen, i: Instance, w: float, h: float, steel: RGB) -> None:
    for s in (-1, 1):
        p.path(rounded(s * w * 0.5 - 2.2, -5, 4.4, 5, 0.6), steel, darken(steel, 0.6), 1.0)
        p.path(
            rounded(s * (w + 2.6) - 2.0, -h - 1.5, 4.0, 10 * i.detail, 2.0),
            steel,
            darken(steel, 0.6),
            1.0,
        )
        p.path(
            ellipse(s * (w + 2.6), -h - 1.5 + 10 * i.detail, 2.4, 2.2),
            i.primary,
            darken(i.primary, 0.6),
            0.9,
        )


def _screen(p: Pen, i: Instance, hy: float, hh: float, hw: float) -> None:
    """A robot's face."""
    p.path(rounded(-hw * 0.8, hy - hh * 0.3, hw * 1.6, hh * 0.42, 1.8), (44, 48, 62))
    for s in (-1, 1):
        p.path(
            ellipse(s * hw * 0.4, hy - hh * 0.09, 1.9, 1.9), (128, 240, 250), (255, 255, 255), 0.5
        )
    p.line(f"M-3 {hy + hh * 0.29}H3", INK if sum(i.primary) > 230 else (230, 230, 236), 1.1)
    if i.mark == "cheeks":
        for s in (-1, 1):
            p.path(ellipse(s * hw * 0.66, hy + hh * 0.28, *CHEEK), *CHEEK_COLORS, 0.5)


def robot(p: Pen, i: Instance) -> Anchors:
    w, h, hw = 9.5 * i.width, 15 * i.height, 9.4 * i.head
    steel = mix(i.primary, (120, 124, 134), 0.45)
    _limbs(p, i, w, h, steel)
    _skin(p, i, rounded(-w, -4 - h, 2 * w, h, 1.8), (0, -4 - h / 2, w, h / 2))
    hh = 12.0 * i.head
    hy = -4 - h - hh * 0.5 - 0.8
    p.line(f"M0 {hy - hh * 0.5}V{hy - hh * 0.5 - 4.5 * i.detail}", darken(steel, 0.4), 1.4)
    p.path(ellipse(0, hy - hh * 0.5 - 4.8 * i.detail, 2.0, 2.0), (250, 90, 80), (110, 20, 20), 0.7)
    for s in (-1, 1):
        p.path(rounded(s * hw - 1.4, hy - 2.6, 2.8, 5.2, 0.8), steel, darken(steel, 0.6), 0.9)
    _skin(
        p,
        i,
        rounded(-hw, hy - hh * 0.5, 2 * hw, hh, 2.2),
        (0, hy, hw, hh / 2),
        pattern=i.pattern in ("half", "checks"),
    )
    _screen(p, i, hy, hh, hw)
    _mark(p, i, 0, -4 - h * 0.5)
    return Anchors(
        (0, hy - hh * 0.5),
        hw * 0.8,
        (0, hy - hh * 0.09, hw * 0.42),
        (0, -4 - h + 1.4, w * 0.9),
        (w + 3, -h * 0.75),
        -hy + hh * 0.5,
    )


def car(p: Pen, i: Instance) -> Anchors:
    w, h = 17.5 * i.width, 9.5 * i.height
    ch = 10.0 * i.head
    y0 = -4.5 - h
    cabin = (
        f"M{-w * 0.55} {y0 + 1}L{-w * 0.36} {y0 - ch}"
        f"Q{-w * 0.34} {y0 - ch - 1} {-w * 0.25} {y0 - ch - 1}H{w * 0.28}"
        f"Q{w * 0.36} {y0 - ch - 1} {w * 0.42} {y0 - ch}L{w * 0.64} {y0 + 1}Z"
    )
    _skin(p, i, cabin, (0, y0 - ch / 2, w * 0.6, ch / 2), pattern=i.pattern in ("half", "checks"))
    p.path(
        f"M{-w * 0.4} {y0 - 0.6}L{-w * 0.27} {y0 - ch + 1.2}H{w * 0.27}L{w * 0.46} {y0 - 0.6}Z",
        (196, 228, 246),
        darken(i.primary, 0.5),
        0.8,
    )
    d = (
        f"M{-w} -5V{y0 + 3}Q{-w} {y0} {-w + 4} {y0}H{w * 0.6}"
        f"Q{w * 0.98} {y0 + 0.4} {w} {y0 + h * 0.55}V-5Q{w} -3.4 {w - 2} -3.4H{-w + 2}"
        f"Q{-w} -3.4 {-w} -5Z"
    )
    _skin(p, i, d, (-1, y0 + h / 2, w, h / 2 + 1))
    p.path(ellipse(w * 0.88, y0 + h * 0.42, 1.9, 1.7), (255, 240, 160), (120, 90, 20), 0.6)
    p.path(rounded(-w - 0.6, y0 + h * 0.3, 2.4, 2.6, 0.6), (220, 50, 46))
    r = 5.0 * (0.6 + 0.4 * i.detail)
    for x in (-w * 0.56, w * 0.56):
        p.path(ellipse(x, -r, r, r), (44, 42, 50), (16, 14, 20), 0.8)
        p.path(ellipse(x, -r, r * 0.45, r * 0.45), (196, 198, 206))
    gap = 3.4
    ey = y0 - ch * 0.40
    _eyes(p, i, Eyes(1.0, ey, gap, 1.05))
    _mark(p, i, -w * 0.02, y0 + h * 0.5)
    return Anchors(
        (0, y0 - ch - 1), 7.4, (1.0, ey, gap), (0, y0 + 1.0, w * 0.56), (w * 0.9, y0 + 1), -y0 + ch
    )


def house(p: Pen, i: Instance) -> Anchors:
    w, h = 12.5 * i.width, 17.5 * i.height
    rh = 12.0 * i.head
    roof = (
        darken(mix(i.primary, i.secondary, 0.3), 0.38) if sum(i.primary) > 200 else (126, 118, 126)
    )
    p.path(
        rounded(w * 0.42, -h - rh * 0.92, 4.6, 9.5 * i.detail, 0.4),
        (166, 96, 80),
        (86, 44, 36),
        0.9,
    )
    _skin(p, i, rounded(-w, -h, 2 * w, h, 0.6), (0, -h / 2, w, h / 2))
    _skin(
        p,
        i,
        polygon((-w - 3.5, -h + 1), (0, -h - rh), (w + 3.5, -h + 1)),
        (0, 0, 1, 1),
        roof,
        False,
    )
    wy = -h * 0.66
    gap = w * 0.5
    for s in (-1, 1):
        p.path(
            rounded(s * gap - 2.9, wy - 3.0, 5.8, 6.0, 0.6),
            (255, 240, 170),
            darken(i.primary, 0.65),
            1.0,
        )
        p.path(ellipse(s * gap + 0.2, wy + 0.3, 1.5, 1.7), INK)
        p.path(ellipse(s * gap + 0.7, wy - 0.4, 0.6, 0.6), WHITE)
    p.path("M-3.2 0V-5.6A3.2 3.2 0 0 1 3.2 -5.6V0Z", (110, 66, 40), (56, 32, 18), 0.9)
    p.path(ellipse(1.7, -3.4, 0.6, 0.6), (250, 214, 90))
    if i.mark == "cheeks":
        for s in (-1, 1):
            p.path(ellipse(s * gap * 1.3, wy + 5.2, *CHEEK), *CHEEK_COLORS, 0.5)
    _mark(p, i, 0, -h - rh * 0.34)
    return Anchors(
        (0, -h - rh * 0.86), 6.4, (0, wy, gap), (0, -h + 1.6, w * 1.0), (w, -h * 0.45), h + rh
    )


def mug(p: Pen, i: Instance) -> Anchors:
    w, h = 10.8 * i.width, 23 * i.height
    e = 2.8
    r = 6.2 * i.detail
    hd = (
        f"M{w * 0.9} {-h * 0.78}C{w + r * 1.7} {-h * 0.9} {w + r * 1.7} {-h * 0.16} {w * 0.86} "
        f"{-h * 0.22}"
    )
    p.line(hd, darken(i.primary, 0.6) if p.style != "painting" else i.primary, 5.0)
    p.band(hd, i.primary, 2.9)
    d = (
        f"M{-w} {-h}L{-w * 0.88} -3Q{-w * 0.86} 0 {-w * 0.6} 0H{w * 0.6}"
        f"Q{w * 0.86} 0 {w * 0.88} -3L{w} {-h}Z"
    )
    _skin(p, i, d, (0, -h * 0.48, w, h * 0.5))
    p.path(ellipse(0, -h, w, e), lighten(i.primary, 0.35), darken(i.primary, 0.6), 1.1)
    p.path(ellipse(0, -h + 0.5, w * 0.78, e * 0.62), (94, 56, 34))
    ey = -h * 0.6
    _face(p, i, Eyes(0, ey, 4.2 * i.head, 1.0), 3.6)
    _mark(p, i, 0, -h * 0.22)
    return Anchors(
        (0, -h - e * 0.2),
        w * 0.72,
        (0, ey, 4.2 * i.head),
        (0, -h * 0.3, w * 0.92),
        (w + r, -h * 0.5),
        h + e,
    )


def teapot(p: Pen, i: Instance) -> Anchors:
    w, h = 12.0 * i.width, 19.0 * i.height
    cy = -h * 0.5 - 0.8
    r = 7.0 * i.detail
    hd = (
        f"M{-w * 0.8} {cy - h * 0.28}C{-w - r * 1.5} {cy - h * 0.5} {-w - r * 1.4} {cy + h * 0.4} "
        f"{-w * 0.82} {cy + h * 0.2}"
    )
    p.line(hd, darken(i.primary, 0.6) if p.style != "painting" else i.primary, 4.8)
    p.band(hd, i.primary, 2.8)
    spout = (
        f"M{w * 0.7} {cy + h * 0.3}C{w + 5} {cy + h * 0.2} {w + 2} {cy - h * 0.2} {w + r} "
        f"{cy - h * 0.52}L{w + r + 3.4} {cy - h * 0.36}"
        f"C{w + 8} {cy} {w + 8} {cy + h * 0.3} {w * 0.7} {cy + h * 0.42}Z"
    )
    _skin(p, i, spout, (0, 0, 1, 1), None, False)
    _skin(p, i, ellipse(0, cy, w, h * 0.5), (0, cy, w, h * 0.5))
    p.path(
        rounded(-w * 0.6, -2.2, w * 1.2, 2.4, 1.1),
        darken(i.primary, 0.3),
        darken(i.primary, 0.6),
        0.8,
    )
    lid = f"M{-w * 0.62} {cy - h * 0.36}Q0 {cy - h * 0.36 - 9 * i.head} {w * 0.62} {cy - h * 0.36}Z"
    _skin(
        p,
        i,
        lid,
        (0, 0, 1, 1),
        lighten(i.primary, 0.12) if sum(i.primary) < 640 else darken(i.primary, 0.08),
        False,
    )
    ky = cy - h * 0.36 - 5.6 * i.head
    p.path(ellipse(0, ky, 2.3, 2.1), mix(i.primary, i.secondary, 0.6), darken(i.primary, 0.6), 0.9)
    _face(p, i, Eyes(0, cy - 0.4, 4.2, 1.0), 3.6)
    _mark(p, i, -w * 0.56, cy + h * 0.12)
    return Anchors(
        (0, ky - 0.4),
        6.6,
        (0, cy - 0.4, 4.2),
        (0, cy + h * 0.31, w * 0.8),
        (w + r * 0.7, cy - h * 0.1),
        -ky,
    )


def mushroom(p: Pen, i: Instance) -> Anchors:
    w, h = 15.0 * i.width, 15.0 * i.height
    stem = 16.5 * i.head
    sw = 6.6 * (0.5 + 0.5 * i.width)
    tone = CREAM if min(i.primary) < 215 else (226, 204, 170)
    _skin(
        p,
        i,
        f"M{-sw} {-stem}C{-sw * 0.8} -6 {-sw * 1.25} -2 {-sw * 0.9} 0H{sw * 0.9}"
        f"C{sw * 1.25} -2 {sw * 0.8} -6 {sw} {-stem}Z",
        (0, 0, 1, 1),
        tone,
        False,
    )
    y = -stem + 2.4
    p.path(ellipse(0, y - 0.4, w * 0.82, 2.8), darken(tone, 0.25), darken(tone, 0.55), 0.8)
    d = (
        f"M{-w} {y}C{-w * 1.05} {y - h * 1.35 * i.detail} {w * 1.05} {y - h * 1.35 * i.detail} "
        f"{w} {y}Q0 {y - 3.4} {-w} {y}Z"
    )
    _skin(p, i, d, (0, y - h * 0.5, w, h * 0.55))
    look = Instance(tone, i.secondary, mark=i.mark)
    _face(p, look, Eyes(0, -stem * 0.52, 3.2, 0.9), 3.2)
    _mark(p, i, 0, y - h * 0.55)
    top = y - h * 1.0 * i.detail
    return Anchors(
        (0, top),
        7.6,
        (0, -stem * 0.52, 3.2),
        (0, -stem * 0.16, sw * 0.9),
        (sw + 0.6, -stem * 0.5),
        -top,
    )


def cactus(p: Pen, i: Instance) -> Anchors:
    w, h = 6.4 * i.width, 30 * i.height
    r = 2.9 * (0.4 + 0.6 * i.head)
    arm = 8.0 * i.detail
    for s, y, up in ((-1, -h * 0.36, 7.5), (1, -h * 0.5, 8.5)):
        d = (
            f"M{s * w * 0.7} {y - r}H{s * (w + arm - r * 1.6)}V{y - up}"
            f"A{r} {r} 0 0 {1 if s > 0 else 0} {s * (w + arm + r * 0.4)} {y - up}"
            f"V{y}Q{s * (w + arm + r * 0.4)} {y + r} {s * (w + arm - r)} {y + r}H{s * w * 0.7}Z"
        )
        _skin(p, i, d, (s * (w + arm * 0.6), y, arm, 8), pattern=i.pattern in ("half",))
    d = f"M{-w} 0V{-h + w}A{w} {w} 0 0 1 {w} {-h + w}V0Z"
    _skin(p, i, d, (0, -h * 0.45, w, h * 0.5))
    line = darken(i.primary, 0.4) if sum(i.primary) > 200 else lighten(i.primary, 0.3)
    for x in (-w * 0.45, w * 0.45):
        p.line(f"M{x} {-h * 0.36}V-2", line, 0.7)
        p.line(f"M{x} {-h + w * 0.8}v2.6", line, 0.7)
    p.path(rounded(-w - 2.6, -5.2, 2 * w + 5.2, 5.4, 1.2), (190, 104, 66), (104, 50, 28), 1.0)
    ey = -h * 0.64
    _face(p, i, Eyes(0, ey, 2.9, 0.9), 3.2)
    _mark(p, i, 0, -h * 0.28)
    return Anchors((0, -h), w * 0.9, (0, ey, 2.9), (0, -h * 0.4, w * 0.95), (w + arm, -h * 0.5), h)


DRAW: dict[str, Callable[[Pen, Instance], Anchors]] = {
    f.__name__: f
    for f in (
        cat,
        dog,
        bear,
        rabbit,
        bird,
        fish,
        turtle,
        robot,
        car,
        house,
        mug,
        teapot,
        mushroom,
        cactus,
    )
}
