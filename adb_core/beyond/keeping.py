"""Pictures that somebody liked, kept with what it takes to draw them again.

Axes: h, w.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..base import Drawable
from ..pictures import enlarge, png, side_by_side
from ..result import OutputError
from ..system.files import atomic_save_pretrained, atomic_write_json, write_and_sync

PROVENANCE = "provenance.json"
FORMAT = 1


def origin(model: Drawable) -> dict[str, Any]:
    """What model a picture is of: base, revision, recipe, concept, and a hash of the weights."""
    base, concept = model.base, model.concept
    return {
        "versions": versions(),
        "base": Path(base.name).name if Path(base.name).is_absolute() else base.name,
        "revision": base.revision,
        "base_fingerprint": base.fingerprint(),
        "recipe": model.recipe_name,
        "subject": model.subject,
        "concept": None if concept is None else concept.name,
    }


def versions() -> dict[str, str]:
    """Of the packages that a picture depends on, where they are installed as such."""
    found = {}
    for name in ("adb-core", "diffusers", "torch"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@dataclass
class Kept:
    """Liked pictures, in the order in which they were liked.

    Attributes:
        images: uint8 (h, w, 3) each. notes: how each was made.
    """

    images: list[np.ndarray] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def add(self, image: np.ndarray, how: Mapping[str, Any]) -> bool:
        """Keep a picture; whether it is new.

        Args:
            image: uint8 (h, w, 3). how: what JSON can say, dataclasses included: prompt, seed, ...

        Raises:
            TypeError: something that JSON cannot say.
        """
        note = {
            name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            for name, value in how.items()
        }
        json.dumps(note)
        if any(np.array_equal(image, other) for other in self.images):
            return False
        self.images.append(image.copy())
        self.notes.append(note)
        return True

    def strip(self, side: int = 96) -> np.ndarray:
        """All of them in a row, uint8 (side, w, 3).

        Raises:
            ValueError: nothing was kept yet.
        """
        if not self.images:
            raise ValueError("nothing is kept yet")
        return side_by_side(*(enlarge(image, side) for image in self.images), gap=4)

    def export(self, folder: str | Path, model: Drawable | None = None) -> Path:
        """Write every picture as PNG, and beside them ``provenance.json``; all or nothing.

        The JSON says of each file what it was asked for, its SHA-256, and that a model made it;
        with ``model`` also by which one.

        Raises:
            ValueError: nothing was kept yet. OutputError: a folder that holds something else.
            DiskFull: no space left.
        """
        if not self.images:
            raise ValueError("nothing is kept yet: keep a picture before you export")
        folder = Path(folder)
        check_export(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        return atomic_save_pretrained(lambda new: self._write(new, model), folder)

    def _write(self, folder: Path, model: Drawable | None) -> None:
        entries = []
        for number, (image, note) in enumerate(zip(self.images, self.notes, strict=True), 1):
            data, name = png(image), f"{number:02d}.png"
            write_and_sync(folder / name, data)
            entries.append({"file": name, "sha256": hashlib.sha256(data).hexdigest(), **note})
        said: dict[str, Any] = {"format": FORMAT, "made_by": "a text-to-image model"}
        if model is not None:
            said["model"] = origin(model)
        atomic_write_json(folder / PROVENANCE, {**said, "pictures": entries})


def check_export(folder: Path) -> None:
    """An export replaces an empty folder or an earlier export; all else is not ours to remove.

    Raises:
        OutputError: it holds something else.
    """
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    try:
        said = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        ours = {PROVENANCE, *(entry["file"] for entry in said["pictures"])}
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    if names - ours:
        raise OutputError(
            f"{folder} is in the way, and not an earlier export that may be replaced: "
            "choose another folder, or move it"
        )
