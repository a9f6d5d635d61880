"""Frames as files: GIF and WebP by Pillow, MP4 by the package av, which is optional.

Axes: f frames, h, w.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from ..pictures import gif
from ..system.files import atomic_write_bytes

MILLISECONDS = 100  # that a frame is shown


class FrameError(ValueError):
    """Frames that cannot be written; one line with the cure."""


def checked(frames: Sequence[np.ndarray] | np.ndarray, milliseconds: int) -> np.ndarray:
    """Frames as one array, uint8 (f, h, w, 3).

    Raises:
        FrameError: fewer than two, of several sizes, of another kind, or shown for no time.
    """
    if len(frames) < 2:
        raise FrameError(f"frames that move are two at least, got {len(frames)}")
    if milliseconds < 1:
        raise FrameError(f"a frame is shown for at least 1 millisecond, got {milliseconds}")
    shapes = {np.asarray(frame).shape for frame in frames}
    if len(shapes) != 1:
        raise FrameError(f"frames must have one size, got {sorted(shapes)}")
    array = np.asarray(frames)
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise FrameError(f"frames must be uint8 (f, h, w, 3), got {array.dtype} {array.shape}")
    return array


def webp(frames: Sequence[np.ndarray] | np.ndarray, milliseconds: int = MILLISECONDS) -> bytes:
    """Animated WebP bytes without loss, shown again and again: all colors, where a GIF has 256.

    Raises:
        FrameError: as :func:`checked`.
    """
    images = [Image.fromarray(frame) for frame in checked(frames, milliseconds)]
    stream = io.BytesIO()
    options = {"duration": milliseconds, "loop": 0, "lossless": True}
    images[0].save(stream, "WEBP", save_all=True, append_images=images[1:], **options)
    return stream.getvalue()


def mp4(frames: Sequence[np.ndarray] | np.ndarray, milliseconds: int = MILLISECONDS) -> bytes:
    """MP4 bytes (H.264, 4:2:0), which every browser and telephone plays; it has small losses.

    The format wants even sides: an odd one loses its last row or column.

    Raises:
        FrameError: the package av is not installed, or as :func:`checked`.
    """
    array = checked(frames, milliseconds)
    try:
        import av
    except ImportError as error:
        raise FrameError(
            "MP4 needs the package av, which is not installed: pip install av, "
            "or save the frames as .gif or .webp"
        ) from error
    height, width = (side - side % 2 for side in array.shape[1:3])
    if not height or not width:
        raise FrameError(f"frames of {array.shape[1]}x{array.shape[2]} pixels are too small: 2 x 2")
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as file:
        track = file.add_stream("libx264", rate=Fraction(1000, milliseconds))
        track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        track.options = {"crf": "12"}  # small pictures show every loss
        for frame in array[:, :height, :width]:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            for packet in track.encode(picture):
                file.mux(packet)
        for packet in track.encode():
            file.mux(packet)
    return stream.getvalue()


def _gif(frames: Sequence[np.ndarray] | np.ndarray, milliseconds: int = MILLISECONDS) -> bytes:
    return gif(list(checked(frames, milliseconds)), milliseconds)


FORMATS: dict[str, Callable[..., bytes]] = {".gif": _gif, ".webp": webp, ".mp4": mp4}


def save_frames(
    path: str | Path,
    frames: Sequence[np.ndarray] | np.ndarray,
    milliseconds: int = MILLISECONDS,
) -> Path:
    """Write frames to a file whose name says the format: .gif, .webp or .mp4; all or nothing.

    Raises:
        FrameError: another ending, frames that cannot be written, or av is not installed for MP4.
        DiskFull: no space left.
    """
    path = Path(path)
    encode = FORMATS.get(path.suffix.lower())
    if encode is None:
        raise FrameError(f"{path.name} says no format: end it in {', '.join(FORMATS)}")
    atomic_write_bytes(path, encode(frames, milliseconds))
    return path
