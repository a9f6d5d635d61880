"""Clips: one scene whose subject walks, jumps or turns, frame by frame, with its masks.

The individual, the place and all that the seed decides stay; only where the subject stands, how
high and how wide it is drawn changes. Lengths are in the drawing's units, 64 to a side.

``render.py`` stays as it is, for its code is a part of every picture cache's hash; what is drawn
here is drawn by its functions, with one group around the subject.

Axes: f frames, h, w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .pen import CANVAS, Pen
from .places import PLACE
from .render import FOOT, SIZE, _finish, _layout, _masks, _raster, _shadow, _strokes, _subject
from .sampling import sample_scene
from .scene import Scene
from .skies import SKY

KINDS = ("walk", "jump", "turn")
FRAMES = 8
WALK = 10.0  # units from the middle, at the first and at the last frame
JUMP = 12.0  # units above the ground, at the highest
BOB, SWAY = 1.2, 4.0  # of a walk: units, degrees
SQUASH = 0.14  # of a jump: share of the height that is lost on the ground


@dataclass(frozen=True)
class Step:
    """How one frame differs from the scene at rest.

    Attributes:
        x, rise: units to the right and upward. tilt: degrees.
        wide, high: factors of the subject's width and height; a negative width is its mirror.
    """

    x: float = 0.0
    rise: float = 0.0
    tilt: float = 0.0
    wide: float = 1.0
    high: float = 1.0


@dataclass(frozen=True)
class Clip:
    """A clip and its truth.

    Attributes:
        frames: uint8 (f, size, size, 3). masks: of the subject, bool (f, size, size).
        scene, kind: what is shown, and what it does.
    """

    frames: np.ndarray
    masks: np.ndarray
    scene: Scene
    kind: str


def steps(kind: str, frames: int = FRAMES, backward: bool = False) -> list[Step]:
    """The steps of a motion; ``backward`` walks to the left.

    Raises:
        ValueError: an unknown motion, or fewer than two frames.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown motion {kind!r}: choose one of {', '.join(KINDS)}")
    if frames < 2:
        raise ValueError(f"a clip has two frames at least, got {frames}")
    shares = [k / (frames - 1) for k in range(frames)]
    if kind == "walk":
        side = -1 if backward else 1
        return [
            Step(
                side * WALK * (2 * t - 1),
                BOB * abs(math.sin(3 * math.pi * t)),
                SWAY * math.sin(3 * math.pi * t),
            )
            for t in shares
        ]
    if kind == "jump":
        arcs = [math.sin(math.pi * t) for t in shares]
        return [
            Step(rise=JUMP * a, wide=1 + SQUASH / 2 * (1 - a), high=1 - SQUASH * (1 - a))
            for a in arcs
        ]
    return [Step(wide=_edge_on(math.cos(math.pi * t))) for t in shares]


def _edge_on(width: float, least: float = 0.1) -> float:
    """A width that is never none, as a mirror's would be with an odd number of frames."""
    return math.copysign(max(abs(width), least), width)


def draw_frame(scene: Scene, seed: int, step: Step) -> Pen:
    """A scene with its subject moved; at ``Step()`` what :func:`.render.draw` draws.

    Raises:
        ValueError: the scene has a second thing, which would have to move too.
    """
    if scene.relation is not None:
        raise ValueError(f"a clip's subject is alone, this one has a {scene.object}: leave it out")
    rng = np.random.default_rng([seed, 0xD4A3])  # as render.draw: the same clouds and windows
    p = Pen(scene.style)
    PLACE[scene.place or "plain"](p, rng)
    if scene.sky:
        SKY[scene.sky](p, np.random.default_rng([seed, 0x5C1]))
    scene = replace(scene, pose=replace(scene.pose, tilt=scene.pose.tilt + step.tilt))
    at = _layout(scene, rng)
    nearer = 1 - 0.4 * step.rise / JUMP  # a shadow shrinks under what leaves the ground
    _shadow(p, at.x + step.x, at.y, 14 * at.scale * nearer * max(abs(step.wide), 0.4))
    move = (
        f"translate({at.x + step.x:.3f} {FOOT - step.rise:.3f}) "
        f"scale({step.wide:.3f} {step.high:.3f}) translate({-at.x:.3f} {-FOOT:.3f})"
    )
    with p.group(f'transform="{move}"'):
        _subject(p, scene, at)
    if scene.style == "painting":
        _strokes(p, np.random.default_rng([seed, 0xB0]))
    return p


def render_clip(scene: Scene, kind: str, seed: int, frames: int = FRAMES, size: int = SIZE) -> Clip:
    """Draw a clip. A walk goes where the subject faces: to the left if its pose is flipped.

    Raises:
        ValueError: as :func:`steps` and :func:`draw_frame`.
    """
    pens = [draw_frame(scene, seed, step) for step in steps(kind, frames, scene.pose.flip)]
    images = [_finish(_raster(p.svg(size)), scene.style) for p in pens]
    masks = [_masks(p.svg(size, flat=True))["subject"] for p in pens]
    return Clip(np.stack(images), np.stack(masks), scene, kind)


def sample_clip_scene(rng: np.random.Generator) -> Scene:
    """A scene of pretraining's that can move: nothing stands beside the subject, near the middle.

    Combinations that are held out of pretraining, and whoever looks like a concept, stay out.
    """
    scene = sample_scene(rng, relation=0.0)
    middle = replace(scene.pose, x=scene.pose.x / 2, tilt=scene.pose.tilt / 2)
    assert abs(middle.x) + WALK < CANVAS / 2
    return replace(scene, pose=middle)
