"""Pictures as arrays, uint8 (h, w, 3): encode them, enlarge them, lay a map over them. No torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFont
from PIL.PngImagePlugin import PngInfo

from .system.files import atomic_write_bytes

SIDE = 256  # pixels of one picture where nothing else is asked for


def _image(picture: np.ndarray | Image.Image) -> Image.Image:
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)


def png(picture: np.ndarray | Image.Image, *, level: int = 6, optimize: bool = False) -> bytes:
    """A picture as PNG bytes.

    Args:
        level: of compression, 0 to 9; 1 is quick, for a slider that waits. optimize: the smallest
            file, however long it takes.
    """
    stream = io.BytesIO()
    _image(picture).save(stream, "PNG", compress_level=level, optimize=optimize)
    return stream.getvalue()


def opened(data: bytes) -> np.ndarray:
    """The picture of an encoded file's bytes, uint8 (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def save_png(path: str | Path, picture: np.ndarray | Image.Image) -> None:
    """Write a picture as PNG, all or nothing.

    Raises:
        DiskFull: no space left; an earlier file is untouched.
    """
    atomic_write_bytes(path, png(picture))


def _of_one_size(frames: Sequence[np.ndarray | Image.Image]) -> list[Image.Image]:
    """The frames in RGB.

    Raises:
        ValueError: none, or frames of different sizes.
    """
    images = [_image(frame).convert("RGB") for frame in frames]
    sizes = {image.size for image in images}
    if len(sizes) != 1:
        raise ValueError(f"a film needs frames of one size, got {sorted(sizes) or 'none'}")
    return images


def gif(frames: Sequence[np.ndarray | Image.Image], milliseconds: int = 200) -> bytes:
    """Pictures of one size, shown one after the other and again from the first, as GIF bytes.

    Raises:
        ValueError: no frame, or frames of different sizes.
    """
    images = _of_one_size(frames)
    stream = io.BytesIO()
    images[0].save(
        stream, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0
    )
    return stream.getvalue()


def film(
    frames: Sequence[np.ndarray | Image.Image], milliseconds: int = 500, about: str = ""
) -> bytes:
    """Pictures of one size as one animated PNG, shown again and again.

    Pages show it as they show any PNG, and its first frame where they cannot move. All frames share
    256 colors, which keeps a dozen of them small.

    Args:
        about: the description that the file carries.

    Raises:
        ValueError: no frame, or frames of different sizes.
    """
    images = _of_one_size(frames)
    wall = Image.fromarray(np.concatenate([np.asarray(image) for image in images]))
    common = wall.quantize(255, method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*common, *(255, 255, 255)])  # paper stays white
    same = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    text = PngInfo()
    text.add_itxt("Description", about)
    stream = io.BytesIO()
    same[0].save(
        stream, "PNG", save_all=True, append_images=same[1:], duration=milliseconds, loop=0,
        optimize=True, pnginfo=text,
    )  # fmt: skip
    return stream.getvalue()


def enlarge(picture: np.ndarray, side: int = SIDE, smooth: bool = False) -> np.ndarray:
    """A picture scaled to ``side`` pixels in height, (side, w, 3)."""
    h, w = picture.shape[:2]
    size = (max(1, round(w * side / h)), side)
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, how))


def overlay(
    picture: np.ndarray, heat: np.ndarray, top: float | None = None, side: int = SIDE
) -> np.ndarray:
    """A map (y, x) in magma over the grey picture, (side, w, 3).

    Args:
        top: the value of the brightest color; None is the map's own largest.
    """
    from matplotlib import colormaps

    top = float(heat.max()) if top is None else top
    scaled = np.clip(heat / max(top, 1e-12), 0, 1)
    colored = (colormaps["magma"](scaled)[..., :3] * 255).astype(np.uint8)  # (y, x, 3)
    grey = enlarge(picture, side).mean(-1, keepdims=True)  # (side, w, 1)
    heated = enlarge(colored, side, smooth=True)
    if heated.shape[:2] != grey.shape[:2]:  # a map of another aspect ratio than its picture
        heated = np.asarray(Image.fromarray(heated).resize(grey.shape[1::-1]))
    return (0.35 * grey + 0.65 * heated).round().astype(np.uint8)


def side_by_side(*pictures: np.ndarray, gap: int = 8) -> np.ndarray:
    """Pictures of one height in a row on white."""
    space = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (space, picture)][1:]
    return np.concatenate(parts, axis=1)


def stacked(*pictures: np.ndarray, gap: int = 8) -> np.ndarray:
    """Pictures of one width below each other on white."""
    space = np.full((gap, pictures[0].shape[1], 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (space, picture)][1:]
    return np.concatenate(parts, axis=0)


def font(size: int):
    """Pillow's own font; of one fixed size where Pillow is older than 10.1."""
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()
