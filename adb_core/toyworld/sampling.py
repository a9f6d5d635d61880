"""Drawing lots: individuals, poses and whole scenes of the toy world.

Any trait may come up: any two colors, every pattern, mark and build. Left out are the
combinations of :func:`.scene.is_held_out` and whoever looks like a bundled concept.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .portraits import near_concept
from .scene import (
    ACCESSORIES,
    BUILDS,
    CATEGORIES,
    COLORS,
    MARKS,
    OBJECTS,
    PATTERNS,
    PLACES,
    RELATIONS,
    RGB,
    SKIES,
    STYLES,
    Instance,
    Pose,
    Scene,
    color_distance,
    is_held_out,
)

COLOR_JITTER = 14  # per channel, around a color word
ANY_COLOR = 0.5  # share of the colors that are drawn from the whole cube, not around a word
CONTRAST = 90.0  # least RGB distance between an individual's two colors
PART_SIZE = (0.80, 1.25)  # head and detail, whatever the build


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def sample_color(rng: np.random.Generator) -> RGB:
    """Any color: half of the time one near a color word, so that no word is rare."""
    if rng.random() < ANY_COLOR:
        return tuple(int(v) for v in rng.integers(20, 251, 3))
    word = _pick(rng, tuple(COLORS))
    offset = rng.integers(-COLOR_JITTER, COLOR_JITTER + 1, 3)
    return tuple(int(v) for v in np.clip(np.add(COLORS[word], offset), 0, 255))


def sample_second_color(rng: np.random.Generator, primary: RGB) -> RGB:
    """Any color that is told apart from ``primary`` at a glance."""
    while True:
        color = sample_color(rng)
        if color_distance(primary, color) >= CONTRAST:
            return color


def sample_sizes(rng: np.random.Generator, build: str | None = None) -> dict[str, float]:
    """Width and height of a build (None: any), head and detail of any size."""
    width, height = BUILDS[build or _pick(rng, tuple(BUILDS))]
    spans = {"width": width, "height": height, "head": PART_SIZE, "detail": PART_SIZE}
    return {name: round(float(rng.uniform(*span)), 3) for name, span in spans.items()}


def sample_instance(rng: np.random.Generator, **known) -> Instance:
    """Any individual at all; ``known`` fixes some of its fields."""
    primary = known.get("primary") or sample_color(rng)
    drawn = dict(
        primary=primary,
        secondary=sample_second_color(rng, primary),
        pattern=_pick(rng, PATTERNS),
        mark=_pick(rng, MARKS),
        layout=int(rng.integers(2**31)),
        **sample_sizes(rng),
    )
    return Instance(**(drawn | known))


def sample_pose(rng: np.random.Generator) -> Pose:
    return Pose(
        x=float(rng.uniform(-4, 4)),
        scale=float(rng.uniform(0.88, 1.06)),
        tilt=float(rng.uniform(-6, 6)),
        flip=bool(rng.integers(2)),
    )


def sample_scene(
    rng: np.random.Generator,
    *,
    held_out: bool = False,
    place: float = 0.85,
    accessory: float = 0.62,
    relation: float = 0.5,
    sky: float = 0.3,
) -> Scene:
    """Draw a scene of any individual but those near a concept.

    Args:
        held_out: draw only combinations kept out of pretraining, else only the others.
        place, accessory, relation, sky: probability that the scene has one.
    """
    while True:
        has_relation = rng.random() < relation
        scene = Scene(
            category=_pick(rng, CATEGORIES),
            instance=sample_instance(rng),
            accessory=_pick(rng, ACCESSORIES) if rng.random() < accessory else None,
            relation=_pick(rng, RELATIONS) if has_relation else None,
            object=_pick(rng, OBJECTS) if has_relation else None,
            place=_pick(rng, PLACES) if rng.random() < place else None,
            sky=_pick(rng, SKIES) if rng.random() < sky else None,
            style=str(rng.choice(STYLES, p=(0.46, 0.18, 0.18, 0.18))),
            pose=sample_pose(rng),
        )
        if is_held_out(scene) == held_out and not near_concept(scene.category, scene.instance):
            return scene


def restage(scene: Scene, rng: np.random.Generator, **changes) -> Scene:
    """The same individual in another picture: new pose, and whatever ``changes`` says."""
    return replace(scene, pose=sample_pose(rng), **changes)
