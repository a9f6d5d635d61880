"""Trainings that were looked at on their way: pictures, maps of [V] and scores of every moment.

``python -m adb_core.teaching.make_tracks`` trains them; here they are only read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..pictures import opened
from ..system.paths import data_path

SCORES = ("text", "identity", "joint")  # as notebook 09 defines them; identity by its ceiling
CELLS = 16  # side of a stored map


@dataclass(frozen=True)
class View:
    """One moment of a training.

    Attributes:
        step: how many were taken; 0 is the base model, which reads the category.
        stage: the step's; "base model" before the first.
        scores: of all prompts that were scored, name -> mean, see :data:`SCORES`.
        images: uint8 (p, h, w, 3), of the prompts that are shown, all from the same noise.
        maps: float32 (p, y, x), the attention of [V] in them; at step 0 that of the category.
    """

    step: int
    stage: str
    scores: dict[str, float]
    images: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Track:
    """One training from the base model to beyond its preset's end.

    Attributes:
        preset: steps of the recipe as it is usually run. views: by rising step.
    """

    concept: str
    recipe: str
    preset: int
    views: tuple[View, ...]


@dataclass(frozen=True)
class Tracks:
    """All stored trainings.

    Attributes:
        shares: of the preset's steps, at which every training was looked at, the first 0.
        prompts: those that are shown, with ``{}``; scored: how many the scores are means of.
        by_name: (concept, recipe) -> its training.
    """

    shares: tuple[float, ...]
    prompts: tuple[str, ...]
    scored: int
    by_name: dict[tuple[str, str], Track]

    @property
    def concepts(self) -> list[str]:
        return list(dict.fromkeys(concept for concept, _ in self.by_name))

    @property
    def recipes(self) -> list[str]:
        return list(dict.fromkeys(recipe for _, recipe in self.by_name))


def load_tracks(folder: str | Path | None = None) -> Tracks:
    """Read the bundled trainings, or others.

    Raises:
        FileNotFoundError: there are none; names the command that makes them.
    """
    folder = data_path("tracks") if folder is None else Path(folder)
    index = folder / "tracks.json"
    if not index.exists():
        raise FileNotFoundError(
            f"there are no stored trainings in {folder}: "
            "make them with python -m adb_core.teaching.make_tracks"
        )
    stored = json.loads(index.read_text(encoding="utf-8"))
    tracks = [_track(folder, name, len(stored["prompts"])) for name in stored["tracks"]]
    return Tracks(
        tuple(stored["shares"]),
        tuple(stored["prompts"]),
        stored["scored"],
        {(track.concept, track.recipe): track for track in tracks},
    )


def _track(folder: Path, name: str, columns: int) -> Track:
    """A training from its numbers and its two sheets: one row a moment, one column a prompt."""
    facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    rows = len(facts["views"])
    images = cut(opened((folder / f"{name}.png").read_bytes()), rows, columns)
    greys = cut(opened((folder / f"{name}-maps.png").read_bytes()), rows, columns)[..., 0]
    views = [
        View(
            view["step"],
            view["stage"],
            {score: view[score] for score in SCORES},
            images[k],
            greys[k].astype(np.float32) / 255 * facts["top"],
        )
        for k, view in enumerate(facts["views"])
    ]
    return Track(facts["concept"], facts["recipe"], facts["preset"], tuple(views))


def cut(sheet: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A sheet (rows * h, columns * w, c) as its pictures, (rows, columns, h, w, c)."""
    h, w, c = sheet.shape[0] // rows, sheet.shape[1] // columns, sheet.shape[2]
    return sheet.reshape(rows, h, columns, w, c).swapaxes(1, 2)


def pasted(pictures: np.ndarray) -> np.ndarray:
    """The inverse of :func:`cut`."""
    rows, columns, h, w, c = pictures.shape
    return pictures.swapaxes(1, 2).reshape(rows * h, columns * w, c)
