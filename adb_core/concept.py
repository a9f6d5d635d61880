"""A concept: a folder of pictures, its placeholder and its super-category.

Axes: n images, K augmented views of each, c channels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .system.paths import data_path

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
            raise ConceptError(
                f"concept {self.name!r} has no images: give three to six PNG, JPEG or WebP files"
            )
        if (
            not self.placeholder
            or self.placeholder != self.placeholder.strip()
            or any(ch.isspace() for ch in self.placeholder)
        ):
            raise ConceptError(
                f"placeholder {self.placeholder!r} must be one word without spaces, for example '<{self.name}>'"
            )
        if not self.category.strip():
            raise ConceptError(
                f"concept {self.name!r} has no category: name what it is, for example 'cat' or 'toy'"
            )

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, placeholder: str | None = None, category: str | None = None
    ) -> Concept:
        """Read a concept from a folder of images.

        ``concept.json``, if there is one, gives what the arguments leave out.

        Raises:
            ConceptError: no folder, no usable image, an unreadable one, or no category.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ConceptError(
                f"no concept folder at {folder}: give a folder with three to six images"
            )
        info = _read_info(folder / "concept.json")
        files, skipped = _sort_files(folder)
        if not files:
            raise ConceptError(
                f"{folder} holds no images: put three to six PNG, JPEG or WebP files there"
            )
        name = info.get("name", folder.resolve().name)
        category = category if category is not None else info.get("category")
        if category is None:
            raise ConceptError(
                f"{folder} does not say what it shows: pass a category, for example 'cat' or 'toy'"
            )
        placeholder = (
            placeholder
            if placeholder is not None
            else info.get("placeholder", f"<{'-'.join(name.lower().split())}>")
        )
        masks = {p["image"]: p.get("mask") for p in info.get("photos", [])}
        paths = [folder / masks[f.name] if masks.get(f.name) else None for f in files]
        images = tuple(read_image(f) for f in files)
        return cls(
            name=name,
            images=images,
            placeholder=placeholder,
            category=category,
            skipped=tuple(skipped),
            info=info,
            masks=tuple(_read_mask(p, image.shape[:2]) for p, image in zip(paths, images))
            if all(paths)
            else (),
        )

    @classmethod
    def bundled(cls, name: str) -> Concept:
        """A concept that comes with the project, by name.

        Raises:
            ConceptError: unknown name; the message lists them.
        """
        known = bundled_concepts()
        if name not in known["tuning"] + known["held_out"]:
            raise ConceptError(
                f"unknown concept {name!r}: choose one of {', '.join(known['tuning'] + known['held_out'])}, or give a folder"
            )
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
    """``concept.json``, or an empty dictionary where there is none."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, UnicodeDecodeError) as error:
        raise ConceptError(
            f"{path} is not valid JSON ({error}): correct it or remove it"
        ) from error
    if not isinstance(info, dict):
        raise ConceptError(f"{path} must be an object, {{...}}: correct it or remove it")
    for key in ("name", "category", "placeholder"):
        if not isinstance(info.get(key, ""), str):
            raise ConceptError(f"{path}: {key!r} must be a text, got {info[key]!r}: correct it")
    photos = info.get("photos", [])
    if not isinstance(photos, list) or not all(
        isinstance(p, dict)
        and isinstance(p.get("image"), str)
        and isinstance(p.get("mask", ""), (str, type(None)))
        for p in photos
    ):
        raise ConceptError(
            f"{path}: 'photos' must be a list of objects with the file names 'image' and, if there is one, 'mask': correct it"
        )
    return info


def _sort_files(folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Image files in name order, and what is skipped with the reason."""
    files, skipped = [], []
    for path in sorted(folder.iterdir()):
        is_picture = path.suffix.lower() in IMAGE_TYPES
        if (
            path.name.startswith(".")
            or path.name == "concept.json"
            or (path.is_dir() and not is_picture)
        ):
            continue
        if path.is_dir():
            skipped.append((path.name, "a folder"))
        elif is_picture:
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
                raise ConceptError(
                    f"{path} has {image.width} x {image.height} pixels, over {MAX_PIXELS // 10**6} million: scale it down"
                )
            if min(image.size) < MIN_SIDE:
                raise ConceptError(
                    f"{path} is only {image.width} x {image.height} pixels: use a picture of at least {MIN_SIDE} pixels a side"
                )
            if image.mode[0] in "IF":
                image = _eight_bits(ImageOps.exif_transpose(image))
            kept = _kept_size(image.size)
            image.draft(None, kept)  # of a JPEG: decode at 1/2, 1/4 or 1/8, never below ``kept``
            if image.size != kept:
                image = image.convert(
                    "RGBA"
                    if image.mode == "P" and "transparency" in image.info
                    else "RGB"
                    if image.mode == "P"
                    else image.mode
                )
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
        raise ConceptError(
            f"{path} cannot be read as an image ({error}): remove it or save it again as PNG"
        ) from error


def _kept_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height that are kept of a picture's: the shorter one is ``KEPT_SIDE`` at most."""
    share = min(1.0, KEPT_SIDE / min(size))
    return round(size[0] * share), round(size[1] * share)


def _read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A picture's mask: bool of its (h, w), true where the mask is bright."""
    if not path.is_file():
        raise ConceptError(
            f"the mask {path}, which concept.json names, is missing: add it, or take it out of concept.json"
        )
    mask = read_image(path)[..., 0] > 127
    if mask.shape != shape:
        raise ConceptError(
            f"the mask {path} has {mask.shape[1]} x {mask.shape[0]} pixels, its picture {shape[1]} x {shape[0]}: make them equal"
        )
    return mask


def _eight_bits(image):
    """A grey picture of 16 or 32 bits a pixel brought to 8, which Pillow's own conversion cuts off at 255."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    deep = image.mode.startswith("I;16") or values.max() > 255
    return Image.fromarray((values / 257 if deep else values).round().clip(0, 255).astype(np.uint8))


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


def view(
    image: np.ndarray,
    size: int,
    rng: np.random.Generator | None = None,
    augmentation: Augmentation = Augmentation(),
) -> np.ndarray:
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
    out = Image.fromarray(image).resize(
        (size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
    )
    return np.asarray(out)[:, ::-1].copy() if flip else np.asarray(out)


def views(
    images: Sequence[np.ndarray],
    size: int,
    count: int,
    seed: int,
    augmentation: Augmentation = Augmentation(),
) -> np.ndarray:
    """K views of each image: uint8 (K * n, size, size, 3); the first n are the plain centred ones.

    View j of image i depends on (seed, j, i) alone.
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
