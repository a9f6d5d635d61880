"""Pictures of the same individuals, by which the judge learns identity.

Individuals come in families of one category and main color: a first one, and relatives that
differ in one, two or three of {pattern, mark, second color, build}. They are the hard
negatives, without which the judge would know an individual by its color. Scenes ignore the
held-out split, so that the judge is as good on combinations the tiny model has never seen as
on the others: it is a referee, not a contestant.

No torch: the processes that draw start quickly.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..system.files import atomic_write_bytes, atomic_write_json, sweep
from ..tinymodel.relatives import relative
from ..tinymodel.scenes import placed
from ..toyworld.render import render_image
from ..toyworld.sampling import sample_instance, sample_scene
from ..toyworld.scene import CATEGORIES, LABELS, PATTERNS, Scene
from .cache import code_hash, label_numbers
from .workers import as_made

FAMILY = 3  # individuals in a family
VIEWS = 4  # pictures of each
CHUNK = 50  # families a file


def make_family(number: int, seed: int) -> list[Scene]:
    """The individuals of family ``number``, as a scene each.

    The first wears a pattern, so that another second color shows.
    """
    rng = np.random.default_rng([seed, 0x1DE, number])
    category = str(rng.choice(CATEGORIES))
    first = sample_instance(rng, pattern=str(rng.choice(PATTERNS[1:])))
    members = [first, *(relative(first, rng) for _ in range(FAMILY - 1))]
    return [Scene(category=category, instance=member) for member in members]


def another_scene(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same individual elsewhere: new pose, accessory, relation and place; 70 % photos."""
    stage = sample_scene(rng, held_out=bool(rng.random() < 0.2))
    style = str(rng.choice(("photo", "sketch", "painting", "pixel art"), p=(0.7, 0.1, 0.1, 0.1)))
    return placed(scene, stage, rng, style)


def family_views(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (individuals, views, 128, 128, 3) and labels int64 (individuals, views, heads)."""
    rng = np.random.default_rng([seed, 0x71E, number])
    scenes = [
        another_scene(member, rng) for member in make_family(number, seed) for _ in range(VIEWS)
    ]
    pixels = np.stack([render_image(s, int(rng.integers(2**31))) for s in scenes])
    shape = (FAMILY, VIEWS)
    return pixels.reshape(*shape, *pixels.shape[1:]), label_numbers(scenes).reshape(
        *shape, len(LABELS)
    )


@dataclass
class Families:
    """Attributes: images uint8 (families, 3, 4, 128, 128, 3); labels int64 (families, 3, 4, heads);
    category int64 (families,)."""

    images: np.ndarray
    labels: np.ndarray

    @property
    def category(self) -> np.ndarray:
        return self.labels[:, 0, 0, list(LABELS).index("category")]


def _npz(folder: Path, number: int) -> Path:
    return folder / f"families-{number:04d}.npz"


def _make_chunk(folder: Path, number: int, count: int, seed: int) -> None:
    made = [family_views(k, seed) for k in range(number * CHUNK, min((number + 1) * CHUNK, count))]
    buffer = io.BytesIO()
    np.savez(buffer, images=np.stack([m[0] for m in made]), labels=np.stack([m[1] for m in made]))
    atomic_write_bytes(_npz(folder, number), buffer.getvalue())


def build_families(
    folder: str | Path, *, count: int, seed: int, workers: int | None = None
) -> Families:
    """Draw ``count`` families (12 pictures each), go on where a killed call stopped, or load."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    settings = {"count": count, "seed": seed, "chunk": CHUNK, "code": code_hash()}
    manifest = folder / "manifest.json"
    if not manifest.exists() or json.loads(manifest.read_text()) != settings:
        for path in folder.glob("families-*.npz"):
            path.unlink()
        atomic_write_json(manifest, settings)
    numbers = range(-(-count // CHUNK))
    missing = [n for n in numbers if not _npz(folder, n).exists()]
    for _ in as_made(_make_chunk, [(folder, n, count, seed) for n in missing], workers):
        pass
    parts = [np.load(_npz(folder, n), allow_pickle=False) for n in numbers]
    return Families(
        np.concatenate([p["images"] for p in parts]), np.concatenate([p["labels"] for p in parts])
    )
