"""The drawn world, for pages that need pictures whose truth is known."""

from ..toyworld.render import render, render_image
from ..toyworld.scene import Scene, sample_instance, sample_pose

__all__ = ["Scene", "render", "render_image", "sample_instance", "sample_pose"]
