"""Scene -> picture: composition, styles and masks.

``render(scene, seed)`` is a pure function: the same scene and seed give the same bytes.
The seed decides only what no caption and no identity names: clouds, windows, where the
object stands.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import resvg_py
from PIL import Image

from .pen import CANVAS, CODES, ELEMENTS, Pen, ellipse
from .places import PLACE
from .props import PUT, WEAR
from .scene import Scene
from .skies import SKY
from .subjects import DRAW

SIZE = 128  # pixels of a side; everything is drawn in units of a 64th of it
LENS = 0.11  # weight of each neighbor in _soften: a Gaussian of half a pixel
BLOCK = 2  # pixels of a block of pixel art
FOOT = 57.0  # y of the line the subject stands on


@dataclass(frozen=True)
class Rendered:
    """A picture and its truth.

    Attributes:
        image: uint8 (size, size, 3), RGB.
        masks: element name -> bool (size, size); the visible pixels of each element. They are
            disjoint and cover the picture; an absent element's mask is empty.
    """

    image: np.ndarray
    masks: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Layout:
    """Where the subject and the object stand: foot points in pixels, and scales."""

    x: float
    y: float
    scale: float
    object_x: float = 0.0
    object_y: float = 0.0
    object_scale: float = 1.0


def _layout(scene: Scene, rng: np.random.Generator) -> _Layout:
    pose = scene.pose
    top_heavy = scene.accessory in ("hat", "crown", "umbrella", "balloon")
    scale = (
        pose.scale * (1.0 if top_heavy else 1.12) * (0.96 if scene.accessory == "umbrella" else 1.0)
    )
    x = CANVAS / 2 + pose.x
    if scene.relation == "next to":
        side = 1 if rng.random() < 0.5 else -1
        if scene.accessory in ("balloon", "umbrella"):  # leave room where it hangs
            side = 1 if pose.flip else -1
        return _Layout(
            x - side * 8, FOOT, scale * 0.86, x + side * 16.5 - pose.x * 0.4, FOOT + 2.5, 1.08
        )
    if scene.relation == "on top of":
        return _Layout(x, FOOT - 10.8, scale * 0.74, x, FOOT + 3.0, 1.22)
    if scene.relation == "holding":
        side = -1 if pose.flip else 1
        return _Layout(x - side * 5, FOOT, scale * 0.88, 0, 0, 0.84)
    return _Layout(x, FOOT, scale)


def _shadow(p: Pen, x: float, y: float, width: float) -> None:
    if p.style == "sketch":
        for k in range(4):
            p.line(
                f"M{x - width + 3 * k:.1f} {y + 0.6 + 0.9 * k:.1f}h{2 * width - 6 * k:.1f}",
                (150, 144, 140),
                0.6,
                0.6,
                mask=False,
            )
        return
    p.gradient(
        ellipse(x + 1.5, y + 0.6, width, width * 0.26),
        [(0, (8, 6, 20), 0.5), (0.6, (8, 6, 20), 0.34), (1, (8, 6, 20), 0.0)],
        line=None,
        raw=True,
    )


def _object(p: Pen, scene: Scene, x: float, y: float, scale: float) -> None:
    with p.on("object"), p.group(f'transform="translate({x:.2f} {y:.2f}) scale({scale:.3f})"'):
        PUT[scene.object](p)


def _subject(p: Pen, scene: Scene, at: _Layout) -> None:
    pose = scene.pose
    flip = -1 if pose.flip else 1
    frame = (
        f"translate({at.x:.2f} {at.y:.2f}) rotate({pose.tilt:.2f}) scale({flip * at.scale:.3f} "
        f"{at.scale:.3f})"
    )
    with p.group(f'transform="{frame}"'):
        start = p.mark()
        with p.on("subject"):
            anchors = DRAW[scene.category](p, scene.instance)
        if scene.accessory:
            middle = p.mark()
            with p.on("accessory"):
                WEAR[scene.accessory](p, anchors)
            if scene.accessory == "balloon":  # its string comes from behind the subject
                p.send_back(start, middle)
        if scene.relation == "holding":
            hx, hy = anchors.hand
            reach = (hx + 5.0, hy - 0.5)
            with p.on("subject"):
                p.band(
                    f"M{hx - 3.5} {hy - 1}Q{hx + 1} {hy + 3} {reach[0]} {reach[1]}",
                    scene.instance.primary,
                    3.0,
                )
            with (
                p.on("object"),
                p.group(
                    f'transform="translate({reach[0] + 2.2:.2f} {reach[1] + 0.5:.2f}) scale('
                    f'{at.object_scale:.3f})"'
                ),
            ):
                PUT[scene.object](p)
            with p.on("subject"):
                p.path(
                    ellipse(reach[0] + 0.4, reach[1] - 0.2, 1.9, 1.7),
                    scene.instance.primary,
                    (60, 40, 40),
                    0.7,
                )


def draw(scene: Scene, seed: int) -> Pen:
    """Draw a scene with a fresh pen (the SVG is ``draw(scene, seed).svg(size)``)."""
    rng = np.random.default_rng([seed, 0xD4A3])
    p = Pen(scene.style)
    PLACE[scene.place or "plain"](p, rng)
    if scene.sky:
        SKY[scene.sky](p, np.random.default_rng([seed, 0x5C1]))
    at = _layout(scene, rng)
    _shadow(p, at.x, at.object_y - 0.5 if scene.relation == "on top of" else at.y, 14 * at.scale)
    if scene.relation == "next to":
        _shadow(p, at.object_x, at.object_y, 9)
    if scene.relation in ("next to", "on top of"):
        _object(p, scene, at.object_x, at.object_y, at.object_scale)
    _subject(p, scene, at)
    if scene.style == "painting":
        _strokes(p, np.random.default_rng([seed, 0xB0]))
    return p


def _strokes(p: Pen, rng: np.random.Generator) -> None:
    """Broad, faint dabs of a brush over everything, in two layers of crossing directions."""
    turn = rng.uniform(0, np.pi)
    for k in range(34):
        x, y, n = rng.uniform(0, 64), rng.uniform(0, 64), rng.uniform(3.5, 6.5)
        angle = turn + (np.pi / 2) * (k % 2) + rng.normal(0, 0.35)
        dx, dy = n * np.cos(angle), n * np.sin(angle)
        tone = (255, 240, 206) if k % 3 else (104, 44, 30)
        p.line(
            f"M{x:.1f} {y:.1f}q{dx - 0.25 * dy:.1f} {dy + 0.25 * dx:.1f} {2 * dx:.1f} {2 * dy:.1f}",
            tone,
            4.2,
            0.14,
            mask=False,
        )


def _raster(svg: str) -> np.ndarray:
    """SVG -> uint8 (size, size, 3)."""
    # there is no text, and fonts load slowly
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))


def _finish(image: np.ndarray, style: str) -> np.ndarray:
    """The part of a style that acts on pixels: uint8 (size, size, 3) to the same."""
    if style != "pixel art":
        return _soften(image)
    n = len(image) // BLOCK
    small = image.reshape(n, BLOCK, n, BLOCK, 3).mean(axis=(1, 3))  # (n, n, 3)
    step = 255 / 9
    small = np.round(small / step) * step
    return small.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1).round().astype(np.uint8)


def _soften(image: np.ndarray) -> np.ndarray:
    """A hint of blur, as any lens has: edges sharper than the pixel grid cost the VAE 3 dB."""
    soft = image.astype(np.float32)
    size = len(image)
    for axis in (0, 1):
        padded = np.pad(soft, [(1, 1) if k == axis else (0, 0) for k in range(3)], mode="edge")
        before, after = (padded.take(range(start, start + size), axis) for start in (0, 2))
        soft = (1 - 2 * LENS) * soft + LENS * (before + after)
    return np.rint(soft).astype(np.uint8)


def _masks(svg: str) -> dict[str, np.ndarray]:
    flat = _raster(svg).astype(int)
    codes = np.array([CODES[e] for e in ELEMENTS])
    nearest = np.abs(flat[:, :, None, :] - codes).sum(-1).argmin(-1)  # (size, size)
    return {name: nearest == k for k, name in enumerate(ELEMENTS)}


def render(scene: Scene, seed: int, size: int = SIZE) -> Rendered:
    """Draw a scene as ``size`` by ``size`` pixels, with the visible mask of each element."""
    p = draw(scene, seed)
    return Rendered(_finish(_raster(p.svg(size)), scene.style), _masks(p.svg(size, flat=True)))


def render_masks(scene: Scene, seed: int, size: int = SIZE) -> dict[str, np.ndarray]:
    """Only the masks of :func:`render`; small ones are made quickly."""
    return _masks(draw(scene, seed).svg(size, flat=True))


def render_image(scene: Scene, seed: int, size: int = SIZE) -> np.ndarray:
    """Only the picture of :func:`render`, in half the time."""
    return _finish(_raster(draw(scene, seed).svg(size)), scene.style)
