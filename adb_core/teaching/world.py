"""The drawn world, for pages that need pictures whose truth is known.

Pictures have the size of the bundled model's.
"""

from functools import partial

import numpy as np

from ..toyworld import render as drawing
from ..toyworld.sampling import sample_pose
from ..toyworld.scene import COLORS, Instance, Scene, mix

__all__ = ["Scene", "individual", "render", "render_image", "sample_pose"]

SIZE = 64  # pixels of the bundled model's pictures

render = partial(drawing.render, size=SIZE)
render_image = partial(drawing.render_image, size=SIZE)


def individual(color: str, rng: np.random.Generator) -> Instance:
    """An individual that its color word describes: that color, and a lighter patch."""
    sizes = (round(float(size), 3) for size in rng.uniform(0.95, 1.05, 4))
    light = mix(COLORS[color], (255, 255, 255), 0.6)
    return Instance(COLORS[color], light, "patch", "none", *sizes, int(rng.integers(2**31)))
