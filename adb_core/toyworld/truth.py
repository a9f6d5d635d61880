"""The picture that a perfect model would draw: this individual, in the scene of a prompt.

The world knows it exactly, so every score can stand beside its ceiling.
"""

from __future__ import annotations

import numpy as np

from .render import SIZE, render_image
from .sampling import sample_pose
from .scene import Instance, Scene

THINGS = ("accessory", "relation", "object", "place", "sky", "style")


def true_scene(category: str, instance: Instance, asks: dict[str, str], seed: int) -> Scene:
    """The individual in the scene that ``asks`` describes, in a pose of the seed's.

    Args:
        asks: label -> word, as the prompt sets have it; what it does not name is absent.

    Raises:
        ValueError: a label or a word that the world does not know.
    """
    unknown = sorted(set(asks) - set(THINGS))
    if unknown:
        raise ValueError(f"a scene has no {unknown[0]!r}: choose from {', '.join(THINGS)}")
    rng = np.random.default_rng([seed, 0x7417])
    return Scene(category, instance, pose=sample_pose(rng), **asks)


def true_picture(
    category: str, instance: Instance, asks: dict[str, str], seed: int, size: int = SIZE
) -> np.ndarray:
    """:func:`true_scene` as pixels, uint8 (size, size, 3)."""
    return render_image(true_scene(category, instance, asks, seed), seed, size)
