"""A concept: a folder of pictures, its placeholder and its super-category.

Axes: n images, K augmented views of each, c channels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .paths import data_path

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 64_000_000  # larger files are more likely an attack or a mistake than a photo
MIN_SIDE = 8  # pixels; smaller pictures cannot hold a concept
KEPT_SIDE = 1024  # pixels of the shorter side that are kept: twice what the largest model takes in


class ConceptError(ValueError):
    """A concept cannot be used; the message is one line that names the input and the cure."""


@dataclass(frozen=True)
class Concept:
    """What to learn.

    Attributes:
        images: n pictures, uint8 (h, w, 3) RGB each, of any sizes; EXIF orientation applied, large
            photos reduced to a shorter side of 1,024 pixels.
        placeholder: the new word's text, as "<pico>".
        category: the super-category, one or several words.
        masks: n bool (h, w) arrays of the subject, or empty if unknown.
        skipped: (file name, reason) of files in the folder that were not used.
        info: the rest of ``concept.json``, if there was one.
    """

    name: str
    images: tuple[np.ndarray, ...]
    placeholder: str
    category: str
    masks: tuple[np.ndarray, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    info: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            raise ConceptError(f"concept {self.name!r} has no images: give three to six PNG, JPEG or WebP files")
        if not self.placeholder or self.placeholder != self.placeholder.strip() or any(ch.isspace() for ch in self.placeholder):
            raise ConceptError(f"placeholder {self.placeholder!r} must be one word without spaces, for example '<{self.name}>'")
        if not self.category.strip():
            raise ConceptError(f"concept {self.name!r} has no category: name what it is, for example 'cat' or 'toy'")

    @classmethod
    def from_folder(cls, folder: str | Path, *, placeholder: str | None = None, category: str | None = None) -> Concept:
        """Read a concept from a folder of images.

        ``concept.json``, if there is one, gives what the arguments leave out.

        Raises:
            ConceptError: no folder, no usable image, an unreadable one, or no category.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ConceptError(f"no concept folder at {folder}: give a folder with three to six images")
        info = _read_info(folder / "concept.json")
        files, skipped = _sort_files(folder)
        if not files:
            raise ConceptError(f"{folder} holds no images: put three to six PNG, JPEG or WebP files there")
        name = info.get("name", folder.resolve().name)
        category = category if category is not None else info.get("category")
        if category is None:
            raise ConceptError(f"{folder} does not say what it shows: pass a category, for example 'cat' or 'toy'")
        placeholder = placeholder if placeholder is not None else info.get("placeholder", f"<{'-'.join(name.lower().split())}>")
        masks = {p["image"]: p.get("mask") for p in info.get("photos", [])}
        paths = [folder / masks[f.name] if masks.get(f.name) else None for f in files]
        return cls(
            name=name, images=tuple(read_image(f) for f in files), placeholder=placeholder, category=category,
            masks=tuple(_read_mask(p) for p in paths) if all(paths) else (), skipped=tuple(skipped), info=info,
        )

    @classmethod
    def bundled(cls, name: str) -> Concept:
        """A concept that comes with the project, by name.

        Raises:
            ConceptError: unknown name; the message lists them.
        """
        known = bundled_concepts()
        if name not in known["tuning"] + known["held_out"]:
            raise ConceptError(f"unknown concept {name!r}: choose one of {', '.join(known['tuning'] + known['held_out'])}, or give a folder")
        return cls.from_folder(data_path("concepts", name))

    def squares(self, side: int) -> np.ndarray:
        """All images cropped to their middle square and resized, uint8 (n, side, side, 3)."""
        return np.stack([view(image, side) for image in self.images])


def bundled_concepts() -> dict[str, list[str]]:
    """Names of the bundled concepts: {"tuning": [...], "held_out": [...]}."""
    manifest = json.loads(data_path("concepts", "manifest.json").read_text())
    return {half: manifest[half] for half in ("tuning", "held_out")}


# ---------------------------------------------------------------- reading


def _read_info(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, UnicodeDecodeError) as error:
        raise ConceptError(f"{path} is not valid JSON ({error}): correct it or remove it") from error


def _sort_files(folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Image files in name order, and what is skipped with the reason."""
    files, skipped = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "concept.json" or path.is_dir():
            continue
        if path.suffix.lower() in IMAGE_TYPES:
            files.append(path)
        else:
            skipped.append((path.name, f"not one of {', '.join(IMAGE_TYPES)}"))
    return files, skipped


def read_image(path: str | Path) -> np.ndarray:
    """Decode one image, upright, as uint8 (h, w, 3) RGB; transparency is laid over white.

    A photo of 12 megapixels would take 36 MB for nothing: what is larger than any model takes in is
    reduced to a shorter side of ``KEPT_SIDE``, a JPEG partly while it is decoded, which is quicker.

    Raises:
        ConceptError: empty, unreadable, not an image, too small or too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if path.stat().st_size == 0:
        raise ConceptError(f"{path} is empty (0 bytes): remove it or copy it again")
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ConceptError(f"{path} has {image.width} x {image.height} pixels, over {MAX_PIXELS // 10**6} million: scale it down")
            if min(image.size) < MIN_SIDE:
                raise ConceptError(f"{path} is only {image.width} x {image.height} pixels: use a picture of at least {MIN_SIDE} pixels a side")
            kept = _kept_size(image.size)
            image.draft(None, kept)  # of a JPEG: decode at 1/2, 1/4 or 1/8, never below ``kept``
            if image.size != kept:
                image = image.convert("RGBA" if image.mode == "P" and "transparency" in image.info else "RGB" if image.mode == "P" else image.mode)
                image = image.resize(kept, Image.Resampling.LANCZOS)
            image = ImageOps.exif_transpose(image)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise ConceptError(f"{path} is far too large for a photo: scale it down") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, ConceptError):
            raise
        raise ConceptError(f"{path} cannot be read as an image ({error}): remove it or save it again as PNG") from error


def _kept_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height that are kept of a picture's: the shorter one is ``KEPT_SIDE`` at most."""
    share = min(1.0, KEPT_SIDE / min(size))
    return round(size[0] * share), round(size[1] * share)


def _read_mask(path: Path) -> np.ndarray:
    return read_image(path)[..., 0] > 127


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


def view(image: np.ndarray, size: int, rng: np.random.Generator | None = None, augmentation: Augmentation = Augmentation()) -> np.ndarray:
    """A square view of an image, uint8 (size, size, 3).

    Without ``rng`` the largest centred square; with it a random crop inside the picture.
    """
    from PIL import Image

    h, w = image.shape[:2]
    side, top, left = float(min(h, w)), (h - min(h, w)) / 2, (w - min(h, w)) / 2
    flip = False
    if rng is not None:
        side *= rng.uniform(augmentation.crop, 1.0)
        top, left = rng.uniform(0, h - side), rng.uniform(0, w - side)
        flip = augmentation.flip and rng.random() < 0.5
    out = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return np.asarray(out)[:, ::-1].copy() if flip else np.asarray(out)


def views(images: Sequence[np.ndarray], size: int, count: int, seed: int, augmentation: Augmentation = Augmentation()) -> np.ndarray:
    """K views of each image: uint8 (K * n, size, size, 3); the first n are the plain centred ones.

    View j of image i depends on (seed, j, i) alone.
    """
    if count < 1:
        raise ValueError(f"the number of views must be at least 1, got {count}")
    out = [view(image, size) for image in images]
    out += [view(image, size, np.random.default_rng([seed, j, i]), augmentation)
            for j in range(1, count) for i, image in enumerate(images)]
    return np.stack(out)
