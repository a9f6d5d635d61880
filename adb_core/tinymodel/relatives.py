"""Individuals that are nearly another: the same but for one trait, or a few.

They are what a judge of identity must tell apart: without them it would know an individual by
its color.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..toyworld.sampling import sample_second_color, sample_sizes
from ..toyworld.scene import BUILDS, MARKS, PATTERNS, Instance, color_distance

NEAR_MISS_COLOR = 90.0  # RGB distance of a second color that is plainly another
TRAITS = ("pattern", "mark", "second color", "build")


def changed(instance: Instance, trait: str, rng: np.random.Generator) -> Instance:
    """The same individual but for one of :data:`TRAITS`, which is plainly another."""
    if trait == "pattern":
        others = [p for p in PATTERNS if p != instance.pattern]
        return replace(instance, pattern=str(rng.choice(others)))
    if trait == "mark":
        return replace(instance, mark=str(rng.choice([m for m in MARKS if m != instance.mark])))
    if trait == "build":
        build = str(rng.choice([b for b in BUILDS if b != instance.build]))
        return replace(instance, **sample_sizes(rng, build))
    second = instance.secondary
    while color_distance(second, instance.secondary) < NEAR_MISS_COLOR:
        second = sample_second_color(rng, instance.primary)
    return replace(instance, secondary=second)


def relative(instance: Instance, rng: np.random.Generator) -> Instance:
    """Another individual like ``instance``: same main color, 1 to 3 other traits changed."""
    for trait in rng.choice(TRAITS, int(rng.integers(1, 4)), replace=False):
        instance = changed(instance, str(trait), rng)
    return instance
