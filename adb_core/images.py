"""Pictures of a concept: decoded upright, cropped to squares, augmented.

Axes: n images, K augmented views of each, c channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".webp", ".heic", ".heif")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # of a file's start
MAX_PIXELS = 64_000_000  # larger files are more likely an attack or a mistake than a photo
MIN_SIDE = 8  # pixels; smaller pictures cannot hold a concept
KEPT_SIDE = 1024  # pixels of the shorter side that are kept: twice what the largest model takes in


class ConceptError(ValueError):
    """A concept cannot be used; the message is one line that names the input and the cure."""


# ---------------------------------------------------------------- reading


def read_image(path: str | Path) -> np.ndarray:
    """Decode one image, upright, as uint8 (h, w, 3) RGB; transparency is laid over white.

    A photo of 12 megapixels would take 36 MB for nothing: what is larger than any model takes in is
    reduced to a shorter side of ``KEPT_SIDE``, a JPEG partly while it is decoded, which is quicker.

    Raises:
        ConceptError: empty, unreadable, not an image, too small or too large; HEIC without the
            package that reads it.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        raise ConceptError(f"{path} is empty (0 bytes): remove it or copy it again")
    _prepare_heic(path)
    try:
        with Image.open(path) as image:
            _check_size(path, image.width, image.height)
            return np.asarray(_over_white(_upright(image)).convert("RGB"))
    except Image.DecompressionBombError as error:
        raise ConceptError(f"{path} is far too large for a photo: scale it down") from error
    except ConceptError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ConceptError(
            f"{path} cannot be read as an image ({error}): remove it or save it again as PNG"
        ) from error


def _prepare_heic(path: Path) -> None:
    """Teach Pillow HEIC where a file is one, whatever its name ends in; upright comes with it."""
    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:8] != b"ftyp" or start[8:12] not in HEIC_BRANDS:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ConceptError(
            f"{path} is a HEIC photo, and the package that reads it is not installed: "
            "pip install pillow-heif, or save the photo as JPEG"
        ) from error
    register_heif_opener()


def _check_size(path: Path, width: int, height: int) -> None:
    """Refuse what is too large to be a photo, or too small to show anything."""
    if width * height > MAX_PIXELS:
        raise ConceptError(
            f"{path} has {width} x {height} pixels, "
            f"over {MAX_PIXELS // 10**6} million: scale it down"
        )
    if min(width, height) < MIN_SIDE:
        raise ConceptError(
            f"{path} is only {width} x {height} pixels: "
            f"use a picture of at least {MIN_SIDE} pixels a side"
        )


def _upright(image: Image.Image) -> Image.Image:
    """Reduced to the size that is kept, in eight bits, turned as its EXIF says."""
    if image.mode[0] in "IF":
        image = _eight_bits(ImageOps.exif_transpose(image))
    kept = _kept_size(image.size)
    image.draft(None, kept)  # of a JPEG: decode at 1/2, 1/4 or 1/8, never below ``kept``
    if image.size != kept:
        if image.mode == "P":  # a palette cannot be averaged
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        image = image.resize(kept, Image.Resampling.LANCZOS)
    return ImageOps.exif_transpose(image)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _kept_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height that are kept of a picture's: the shorter one is ``KEPT_SIDE`` at most."""
    share = min(1.0, KEPT_SIDE / min(size))
    return round(size[0] * share), round(size[1] * share)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits brought to 8; Pillow's own conversion cuts off at 255."""
    values = np.asarray(image).astype(np.float64)
    deep = image.mode.startswith("I;16") or values.max() > 255
    return Image.fromarray((values / 257 if deep else values).round().clip(0, 255).astype(np.uint8))


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A picture's mask: bool of its (h, w), true where the mask is bright.

    Raises:
        ConceptError: missing, unreadable, or of another size than ``shape``.
    """
    if not path.is_file():
        raise ConceptError(
            f"the mask {path}, which concept.json names, is missing: "
            "add it, or take it out of concept.json"
        )
    mask = read_image(path)[..., 0] > 127
    if mask.shape != shape:
        raise ConceptError(
            f"the mask {path} has {mask.shape[1]} x {mask.shape[0]} pixels, "
            f"its picture {shape[1]} x {shape[0]}: make them equal"
        )
    return mask


# ---------------------------------------------------------------- augmentation


@dataclass(frozen=True)
class Augmentation:
    """How views differ from the photo: a random square crop and, if asked, a mirror image.

    There is no rotation: rotated corners come out black or smeared, and models learn them.

    Attributes:
        crop: smallest share of the shorter side that a crop may keep, in (0, 1].
        flip: mirror half of the views; off, because many concepts are not symmetric.
    """

    crop: float = 0.85
    flip: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1], got {self.crop}")


PLAIN = Augmentation()


def view(
    image: np.ndarray,
    size: int,
    rng: np.random.Generator | None = None,
    augmentation: Augmentation = PLAIN,
) -> np.ndarray:
    """A square view of an image, uint8 (size, size, 3).

    Without ``rng`` the largest centred square; with it a random crop inside the picture.
    """
    h, w = image.shape[:2]
    side, top, left = float(min(h, w)), (h - min(h, w)) / 2, (w - min(h, w)) / 2
    flip = False
    if rng is not None:
        side *= rng.uniform(augmentation.crop, 1.0)
        top, left = rng.uniform(0, h - side), rng.uniform(0, w - side)
        flip = augmentation.flip and rng.random() < 0.5
    out = Image.fromarray(image).resize(
        (size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
    )
    return np.asarray(out)[:, ::-1].copy() if flip else np.asarray(out)


def views(
    images: Sequence[np.ndarray],
    size: int,
    count: int,
    seed: int,
    augmentation: Augmentation = PLAIN,
) -> np.ndarray:
    """K views of each image: uint8 (K * n, size, size, 3); the first n are the plain centred ones.

    View j of image i depends on (seed, j, i) alone.

    Raises:
        ValueError: ``count`` is not at least 1.
    """
    if count < 1:
        raise ValueError(f"the number of views must be at least 1, got {count}")
    out = [view(image, size) for image in images]
    out += [
        view(image, size, np.random.default_rng([seed, j, i]), augmentation)
        for j in range(1, count)
        for i, image in enumerate(images)
    ]
    return np.stack(out)
