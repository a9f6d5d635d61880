"""A concept: a folder of pictures, its placeholder and its super-category.

Axes: n images.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .captions import METADATA, read_captions
from .images import IMAGE_TYPES, ConceptError, read_image, read_mask, view
from .photos import cut, square
from .provenance.consent import Statements, check_statements
from .system.paths import data_path


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
        files: names of the pictures' files, or empty.
        captions: a training prompt for each picture, with ``{}`` for the concept, that is used in
            place of the recipe's; None where it has none. Empty if no picture has one.
    """

    name: str
    images: tuple[np.ndarray, ...]
    placeholder: str
    category: str
    masks: tuple[np.ndarray, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    info: dict = field(default_factory=dict)
    files: tuple[str, ...] = ()
    captions: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.images:
            raise ConceptError(
                f"concept {self.name!r} has no images: give three to six PNG, JPEG or WebP files"
            )
        if not self.placeholder or any(ch.isspace() for ch in self.placeholder):
            raise ConceptError(
                f"placeholder {self.placeholder!r} must be one word without spaces, "
                f"for example '<{self.name}>'"
            )
        if not self.category.strip():
            raise ConceptError(
                f"concept {self.name!r} has no category: "
                "name what it is, for example 'cat' or 'toy'"
            )
        if len(self.captions) not in (0, len(self.images)):
            raise ConceptError(
                f"concept {self.name!r} has {len(self.images)} images and {len(self.captions)} "
                "captions: give one for each, None where there is none"
            )

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, placeholder: str | None = None, category: str | None = None
    ) -> Concept:
        """Read a concept from a folder of images.

        ``concept.json``, if there is one, gives what the arguments leave out. A text file beside a
        picture (``a.txt`` of ``a.jpg``), or its line in ``metadata.jsonl`` ("file_name", "text"),
        is its caption.

        Raises:
            ConceptError: no folder, no usable image, an unreadable one, no category, or a caption
                that does not name the concept.
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
        if category is None:
            category = info.get("category")
        if category is None:
            raise ConceptError(
                f"{folder} does not say what it shows: pass a category, for example 'cat' or 'toy'"
            )
        if placeholder is None:
            placeholder = info.get("placeholder", f"<{'-'.join(name.lower().split())}>")
        images = tuple(read_image(f) for f in files)
        masks = _read_masks(folder, files, images, info)
        names = tuple(file.name for file in files)
        captions = read_captions(files, (f"{placeholder} {category}", placeholder))
        return cls(
            name, images, placeholder, category, masks, tuple(skipped), info, names, captions
        )

    @classmethod
    def bundled(cls, name: str) -> Concept:
        """A concept that comes with the project, by name.

        Raises:
            ConceptError: unknown name; the message lists them.
        """
        known = [each for half in bundled_concepts().values() for each in half]
        if name not in known:
            raise ConceptError(
                f"unknown concept {name!r}: choose one of {', '.join(known)}, or give a folder"
            )
        return cls.from_folder(data_path("concepts", name))

    @property
    def statements(self) -> Statements:
        """Who is shown, who gave the pictures, their licence, and who consented, if it was said."""
        return Statements.of(self.info)

    def cropped(self, how: str) -> Concept:
        """The concept with every picture cut once and for all, see :func:`adb_core.photos.square`.

        Args:
            how: "center", "subject" (which needs masks), "none" (the whole picture, with bars), or
                "random", which leaves the pictures as they are: each view is another square.

        Raises:
            ConceptError: an unknown way, or "subject" without masks.
        """
        masks = self.masks or (None,) * len(self.images)
        pairs = list(zip(self.images, masks, strict=True))
        parts = [square(image.shape, how, mask) for image, mask in pairs]
        if how == "random":
            return self
        return replace(
            self,
            images=tuple(cut(image, p) for image, p in zip(self.images, parts, strict=True)),
            masks=tuple(cut(mask, p) for mask, p in zip(self.masks, parts, strict=False)),
        )

    def squares(self, side: int) -> np.ndarray:
        """All images cropped to their middle square and resized, uint8 (n, side, side, 3)."""
        return np.stack([view(image, side) for image in self.images])


def bundled_concepts() -> dict[str, list[str]]:
    """Names of the bundled concepts: {"tuning": [...], "held_out": [...]}."""
    manifest = json.loads(data_path("concepts", "manifest.json").read_text())
    return {half: manifest[half] for half in ("tuning", "held_out")}


# ---------------------------------------------------------------- what a folder holds


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
    check_statements(info, path)
    photos = info.get("photos", [])
    if not isinstance(photos, list) or not all(map(_names_files, photos)):
        raise ConceptError(
            f"{path}: 'photos' must be a list of objects with the file names 'image' and, "
            "if there is one, 'mask': correct it"
        )
    return info


def _names_files(photo: object) -> bool:
    return (
        isinstance(photo, dict)
        and isinstance(photo.get("image"), str)
        and isinstance(photo.get("mask", ""), (str, type(None)))
    )


def _read_masks(
    folder: Path, files: list[Path], images: tuple[np.ndarray, ...], info: dict
) -> tuple[np.ndarray, ...]:
    """The subject's mask of every picture, or none at all where one has no mask."""
    names = {photo["image"]: photo.get("mask") for photo in info.get("photos", [])}
    masks = [names.get(file.name) for file in files]
    if not all(masks):
        return ()
    return tuple(
        read_mask(folder / str(mask), image.shape[:2])
        for mask, image in zip(masks, images, strict=True)
    )


def _sort_files(folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Image files in name order, and what is skipped with the reason."""
    files, skipped = [], []
    there = sorted(folder.iterdir())
    stems = {path.stem for path in there if path.suffix.lower() in IMAGE_TYPES}
    for path in there:
        is_picture = path.suffix.lower() in IMAGE_TYPES
        if (
            path.name.startswith(".")
            or path.name in ("concept.json", METADATA)
            or (path.suffix == ".txt" and path.stem in stems)
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
