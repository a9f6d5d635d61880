"""A small pen that writes SVG: every shape knows which element of the scene it belongs to.

One drawing serves two pictures. ``svg()`` is the picture itself; ``svg(flat=True)`` paints
every shape in its element's code color without shading, which gives exact visible masks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from .scene import RGB, mix

ELEMENTS = ("background", "subject", "accessory", "object")
CODES: dict[str, RGB] = {
    "background": (0, 0, 0),
    "subject": (255, 0, 0),
    "accessory": (0, 255, 0),
    "object": (0, 0, 255),
}
CANVAS = 64  # units of a side of the drawing
PAPER: RGB = (247, 242, 230)
PENCIL: RGB = (74, 70, 72)


def hex_color(rgb: RGB) -> str:
    # The older way of formatting: another would make every cache of pictures a stale one.
    return "#%02x%02x%02x" % tuple(max(0, min(255, int(v))) for v in rgb)  # noqa: UP031


def darken(rgb: RGB, share: float = 0.45) -> RGB:
    return mix(rgb, (18, 14, 22), share)


def lighten(rgb: RGB, share: float = 0.4) -> RGB:
    return mix(rgb, (255, 255, 255), share)


def ellipse(cx: float, cy: float, rx: float, ry: float) -> str:
    return (
        f"M{cx - rx:.2f} {cy:.2f}a{rx:.2f} {ry:.2f} 0 1 0 {2 * rx:.2f} 0"
        f"a{rx:.2f} {ry:.2f} 0 1 0 {-2 * rx:.2f} 0Z"
    )


def polygon(*points: tuple[float, float]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "Z"


def rounded(x: float, y: float, w: float, h: float, r: float) -> str:
    r = min(r, w / 2, h / 2)
    return (
        f"M{x + r:.2f} {y:.2f}h{w - 2 * r:.2f}a{r:.2f} {r:.2f} 0 0 1 {r:.2f} {r:.2f}"
        f"v{h - 2 * r:.2f}"
        f"a{r:.2f} {r:.2f} 0 0 1 {-r:.2f} {r:.2f}h{-(w - 2 * r):.2f}"
        f"a{r:.2f} {r:.2f} 0 0 1 {-r:.2f} {-r:.2f}"
        f"v{-(h - 2 * r):.2f}a{r:.2f} {r:.2f} 0 0 1 {r:.2f} {-r:.2f}Z"
    )


def star(cx: float, cy: float, r: float, points: int = 5, inner: float = 0.42) -> str:
    steps = [
        (r if k % 2 == 0 else r * inner, math.pi * (k / points - 0.5)) for k in range(2 * points)
    ]
    return polygon(*((cx + q * math.cos(a), cy + q * math.sin(a)) for q, a in steps))


class Pen:
    """Collects shapes in drawing order. ``style`` decides how colors and outlines come out."""

    def __init__(self, style: str = "photo"):
        self.style = style
        self.element = "background"
        self._items: list[tuple[str, str | None]] = []  # (svg for the picture, svg for the mask)
        self._defs: list[str] = []

    # ------------------------------------------------------------ structure

    @contextmanager
    def on(self, element: str) -> Iterator[None]:
        """Shapes drawn inside belong to ``element``."""
        before, self.element = self.element, element
        try:
            yield
        finally:
            self.element = before

    @contextmanager
    def group(self, attributes: str) -> Iterator[None]:
        self._items.append((f"<g {attributes}>",) * 2)
        try:
            yield
        finally:
            self._items.append(("</g>",) * 2)

    @contextmanager
    def clip(self, d: str) -> Iterator[None]:
        """Shapes drawn inside show only within path ``d``."""
        name = f"c{len(self._defs)}"
        self._defs.append(f'<clipPath id="{name}"><path d="{d}"/></clipPath>')
        with self.group(f'clip-path="url(#{name})"'):
            yield

    def mark(self) -> int:
        """The current place in the drawing order, for :meth:`send_back`."""
        return len(self._items)

    def send_back(self, start: int, middle: int) -> None:
        """Move what was drawn since ``middle`` behind all that was drawn since ``start``."""
        self._items[start:] = self._items[middle:] + self._items[start:middle]

    # ------------------------------------------------------------ shapes

    def path(
        self,
        d: str,
        fill: RGB | None = None,
        stroke: RGB | None = None,
        width: float = 1.1,
        opacity: float = 1.0,
        mask: bool = True,
    ) -> None:
        """Draw path ``d``.

        Outlines of filled shapes are pencil in a sketch and left out in a painting; ``mask`` False
        keeps the shape out of the masks (shadows, shading).
        """
        code = hex_color(CODES[self.element])
        flat = f'<path d="{d}" fill="{code if fill else "none"}"'
        flat += (
            f' stroke="{code}" stroke-width="{width:.2f}" stroke-linecap="round"/>'
            if stroke
            else "/>"
        )
        if stroke and fill and self.style == "painting":
            stroke = self._tone(fill)
            width *= 0.6
        elif stroke:
            stroke = PENCIL if self.style == "sketch" and fill else self._tone(stroke, line=True)
        if stroke and self.style == "pixel art":
            width *= 1.15
        svg = f'<path d="{d}" fill="{hex_color(self._tone(fill)) if fill else "none"}"'
        if stroke:
            svg += (
                f' stroke="{hex_color(stroke)}" stroke-width="{width:.2f}" stroke-linecap="round" '
                'stroke-linejoin="round"'
            )
        if opacity < 1:
            svg += f' opacity="{opacity:.2f}"'
        self._items.append((svg + "/>", flat if mask else None))

    def line(
        self, d: str, stroke: RGB, width: float = 1.1, opacity: float = 1.0, mask: bool = True
    ) -> None:
        """An ink line: details, contours."""
        self.path(d, None, stroke, width, opacity, mask)

    def band(self, d: str, color: RGB, width: float) -> None:
        """A stroke that is painted surface rather than ink: tails, handles, stripes."""
        code = hex_color(CODES[self.element])
        shape = (
            f'<path d="{d}" fill="none" stroke-width="{width:.2f}" stroke-linecap="round" '
            f'stroke-linejoin="round" stroke="{{}}"/>'
        )
        self._items.append((shape.format(hex_color(self._tone(color))), shape.format(code)))

    def gradient(
        self,
        d: str,
        stops: list[tuple[float, RGB, float]],
        line: tuple[float, float, float, float] | None = (0.0, 0.0, 0.0, 1.0),
        raw: bool = False,
    ) -> None:
        """Fill path ``d`` with a gradient of ``(offset, color, opacity)`` stops.

        Args:
            line: from where to where it runs, (x1, y1, x2, y2) as shares of the path's bounding
                box; None: from its middle outwards.
            raw: keep the stops' colors as they are in every style (light and shade).
        """
        name = f"g{len(self._defs)}"
        body = "".join(
            f'<stop offset="{o}" stop-color="{hex_color(c if raw else self._tone(c))}" '
            f'stop-opacity="{a}"/>'
            for o, c, a in stops
        )
        box, kind = "", "radialGradient"
        if line is not None:
            box = ' x1="{}" y1="{}" x2="{}" y2="{}"'.format(*line)
            kind = "linearGradient"
        self._defs.append(f'<{kind} id="{name}"{box}>{body}</{kind}>')
        self._items.append((f'<path d="{d}" fill="url(#{name})"/>', None))

    def shade(self, d: str, strength: float = 1.0) -> None:
        """Light from the upper left over path ``d``, as the style has it."""
        white, black = (255, 255, 255), (10, 8, 24)
        if self.style == "sketch":
            return
        s = strength * {"photo": 1.0, "painting": 0.9, "pixel art": 0.7}[self.style]
        self.gradient(
            d,
            [(0, white, 0.34 * s), (0.45, white, 0.0), (0.55, black, 0.0), (1, black, 0.34 * s)],
            (0.15, 0.0, 0.75, 1.0),
            raw=True,
        )

    def _tone(self, rgb: RGB, line: bool = False) -> RGB:
        """A fill or line color as this style paints it."""
        if self.style == "sketch":
            if line:
                return mix(rgb, PENCIL, 0.35)
            return mix(PAPER, rgb, 0.24 if self.element == "background" else 0.78)
        if self.style == "painting":
            warm = (min(255, rgb[0] * 1.0 + 6), rgb[1] * 0.97, rgb[2] * 0.90)
            return mix(tuple(int(v) for v in warm), rgb, 0.25)
        return rgb

    # ------------------------------------------------------------ output

    def svg(self, size: int, flat: bool = False) -> str:
        """The drawing as an SVG document of ``size`` by ``size`` pixels; ``flat`` paints elements
        in their code colors."""
        body = "".join(item[1] or "" if flat else item[0] for item in self._items)
        edges = ' shape-rendering="crispEdges"' if flat else ""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" '
            f'viewBox="0 0 {CANVAS} {CANVAS}"{edges}>'
            f"<defs>{''.join(self._defs)}</defs>{body}</svg>"
        )
