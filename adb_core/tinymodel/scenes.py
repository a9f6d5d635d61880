"""Scenes to measure on: fresh ones, that no training stage has drawn, from fixed seeds.

Every second fresh scene, and every scene to ask for, is of a combination of attributes that is
held out of pretraining altogether.
"""

from __future__ import annotations

import numpy as np

from ..toyworld.grammar import plain_caption
from ..toyworld.render import render_image
from ..toyworld.sampling import restage, sample_instance, sample_scene
from ..toyworld.scene import CATEGORIES, PATTERNS, Scene
from .relatives import changed


def lot(seed: int, what: int) -> np.random.Generator:
    """Fixed lots; the third number keeps them apart from every training cache's."""
    return np.random.default_rng([seed, what, 0xE7A1])


def fresh_scenes(count: int, seed: int, *, distinct: bool = False, **sample) -> list[Scene]:
    """Scenes that training never drew; every second one of a held-out combination."""
    rng, scenes, said = lot(seed, 1), [], set()
    while len(scenes) < count:
        scene = sample_scene(rng, held_out=len(scenes) % 2 == 0, **sample)
        if distinct and plain_caption(scene) in said:
            continue
        said.add(plain_caption(scene))
        scenes.append(scene)
    return scenes


def held_out_scenes(count: int, seed: int, held_out: bool = True) -> list[Scene]:
    """Scenes to ask for: a place always, an accessory or a relation at least."""
    rng, scenes = lot(seed, 2), []
    while len(scenes) < count:
        scene = sample_scene(rng, held_out=held_out, place=1.0, accessory=0.7, relation=0.6)
        if scene.accessory or scene.relation:
            scenes.append(scene)
    return scenes


def draw(scenes: list[Scene], seed: int) -> np.ndarray:
    """uint8 (n, 128, 128, 3)."""
    first = 10_000_000 + seed * 100_000
    return np.stack([render_image(scene, first + i) for i, scene in enumerate(scenes)])


def identity_pairs(count: int, seed: int) -> tuple[list[Scene], np.ndarray]:
    """Two scenes of each of ``count`` individuals (2i and 2i+1), and each one's category number.

    Both views are photos in other places, with other accessories and objects.
    """
    rng, scenes, categories = lot(seed, 3), [], []
    for i in range(count):
        category = i // 2 % len(CATEGORIES)  # so that negatives of the same category abound
        first = Scene(CATEGORIES[category], sample_instance(rng))
        scenes += [elsewhere(first, rng), elsewhere(first, rng)]
        categories.append(category)
    return scenes, np.array(categories)


def elsewhere(scene: Scene, rng: np.random.Generator) -> Scene:
    """A photo of the same individual in another place, pose and company."""
    return placed(scene, sample_scene(rng), rng, style="photo")


def placed(scene: Scene, stage: Scene, rng: np.random.Generator, style: str) -> Scene:
    """The individual of ``scene`` in the place and company of ``stage``, in a new pose."""
    return restage(
        scene,
        rng,
        accessory=stage.accessory,
        relation=stage.relation,
        object=stage.object,
        place=stage.place,
        sky=stage.sky,
        style=style,
    )


def near_misses(trait: str, count: int, rng: np.random.Generator) -> list[Scene]:
    """Three scenes of each of ``count`` individuals: two of it, one of its like but for a trait."""
    scenes = []
    for i in range(count):
        pattern = PATTERNS[1 + int(rng.integers(len(PATTERNS) - 1))]
        first = Scene(CATEGORIES[i % len(CATEGORIES)], sample_instance(rng, pattern=pattern))
        miss = Scene(first.category, changed(first.instance, trait, rng))
        scenes += [elsewhere(first, rng), elsewhere(first, rng), elsewhere(miss, rng)]
    return scenes
