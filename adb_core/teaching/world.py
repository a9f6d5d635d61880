"""The drawn world, for pages that need pictures whose truth is known.

Pictures have the size of the bundled model's.
"""

import numpy as np

from ..concept import Concept
from ..toyworld.clips import Clip, render_clip
from ..toyworld.grammar import caption
from ..toyworld.render import render, render_image
from ..toyworld.sampling import sample_pose, sample_scene
from ..toyworld.scene import COLORS, Instance, Scene, instance_from_dict, mix

__all__ = [
    "Scene",
    "caption",
    "individual",
    "more_photos",
    "render",
    "render_image",
    "sample_pose",
    "sample_scene",
    "true_clip",
]

ELSEWHERE = 50_000_000  # render seeds that no concept's photos, training cache or test uses


def individual(color: str, rng: np.random.Generator) -> Instance:
    """An individual that its color word describes: that color, and a lighter patch."""
    sizes = (round(float(size), 3) for size in rng.uniform(0.95, 1.05, 4))
    light = mix(COLORS[color], (255, 255, 255), 0.6)
    return Instance(COLORS[color], light, "patch", "none", *sizes, int(rng.integers(2**31)))


def more_photos(concept: Concept, count: int, seed: int = 0) -> np.ndarray:
    """Photos of a bundled concept that are none of its own, uint8 (count, h, w, 3).

    The same individual in the places of its photos, in other poses: what true photos that were
    not trained on look like.

    Raises:
        ValueError: a concept that is not the world's.
    """
    if "instance" not in concept.info:
        raise ValueError(f"{concept.name} is not drawn by the toy world: only its own can be")
    individual, rng = instance_from_dict(concept.info["instance"]), np.random.default_rng(seed)
    places = [photo["place"] for photo in concept.info["photos"]]
    scenes = [
        Scene(concept.category, individual, place=places[k % len(places)], pose=sample_pose(rng))
        for k in range(count)
    ]
    first = ELSEWHERE + 1000 * seed
    return np.stack([render_image(scene, first + k) for k, scene in enumerate(scenes)])


def true_clip(concept: Concept, kind: str, place: str | None = None, seed: int = 0) -> Clip:
    """A bundled concept that walks, jumps or turns, drawn by the world itself.

    Raises:
        ValueError: a concept that is not the world's, an unknown motion or place.
    """
    if "instance" not in concept.info:
        raise ValueError(f"{concept.name} is not drawn by the toy world: only its own can be")
    scene = Scene(concept.category, instance_from_dict(concept.info["instance"]), place=place)
    return render_clip(scene, kind, ELSEWHERE + seed)
