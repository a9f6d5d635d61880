"""What the tests of preference studies share: small studies of drawn noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from adb_core.concept import Concept
from adb_core.preference.making import Picture, draw_pairs, new_study, possible_pairs
from adb_core.preference.study import Design, Study

SIDE = 16


def pictures(recipes=("one", "two"), concepts=("pico",), prompts=2, seeds=2) -> list[Picture]:
    """Noise, another for each recipe, concept, prompt and seed."""
    rng = np.random.default_rng(0)
    return [
        Picture(r, c, f"a photo of a {{}}, {p}", s, rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
        for r in recipes
        for c in concepts
        for p in range(prompts)
        for s in range(seeds)
    ]


def concept(name: str) -> Concept:
    images = tuple(np.full((24, 20 + k, 3), 60 * k, np.uint8) for k in range(3))
    return Concept(name, images, f"<{name}>", "cat")


def study(folder: Path, count: int | None = None, design: Design | None = None, **kinds) -> Study:
    """A study in ``folder``; ``kinds``: as :func:`pictures` takes them."""
    made = pictures(**kinds)
    pairs = draw_pairs(possible_pairs(made), count, 0)
    concepts = {name: concept(name) for name in {picture.concept for picture in made}}
    return new_study(folder, pairs, concepts, design or Design(raters=3))


def photo_folder(folder: Path) -> Path:
    """Photos of a concept that is not bundled."""
    folder.mkdir()
    for k, image in enumerate(concept("x").images):
        Image.fromarray(image).save(folder / f"{k}.png")
    (folder / "concept.json").write_text('{"category": "cat"}')
    return folder
