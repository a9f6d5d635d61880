"""What a picture of the toy world is made of: plain data, no drawing.

A :class:`Scene` says what is in the picture; :mod:`.render` draws it and
:mod:`.grammar` says it in words. Captions may name the category, two colors, the pattern,
the mark, the build, the accessory, the relation with its object, the place, what is in the
air and the style, each of them about half of the time or more. What they leave unsaid is the
individual's own all the same: that is the :class:`Instance`, which personalization has to learn.

Every single trait of an individual is drawn in pretraining. What is held out are
combinations: of words (:func:`is_held_out`) and of traits (:mod:`.concepts`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

RGB = tuple[int, int, int]

# fmt: off
CATEGORIES = (
    "cat", "dog", "bear", "rabbit", "bird", "fish", "turtle",
    "robot", "car", "house", "mug", "teapot", "mushroom", "cactus",
)
# Enough that every color has a word that is not far (at most 110 in RGB, by test).
COLORS: dict[str, RGB] = {
    "red": (214, 44, 44), "orange": (242, 136, 34),
    "yellow": (248, 212, 56), "green": (66, 164, 74),
    "blue": (52, 108, 216), "purple": (132, 72, 190),
    "pink": (247, 152, 194), "brown": (122, 78, 46),
    "white": (244, 243, 240), "black": (50, 50, 58),
    "gray": (142, 144, 148), "teal": (24, 138, 136),
    "turquoise": (72, 216, 206), "navy": (28, 36, 112),
    "azure": (122, 196, 246), "lime": (178, 228, 60),
    "olive": (134, 130, 44), "maroon": (126, 24, 52),
    "magenta": (222, 44, 158), "lavender": (186, 168, 238),
    "coral": (250, 132, 108), "cream": (250, 228, 180),
}
ACCESSORIES = ("hat", "crown", "scarf", "glasses", "balloon", "umbrella")
RELATIONS = ("next to", "on top of", "holding")
OBJECTS = ("ball", "box", "drum", "cake", "pumpkin", "plant")
PLACES = ("beach", "snow", "forest", "city", "moon", "sea", "kitchen", "desert")
SKIES = ("rainbow", "rain", "confetti", "lanterns")  # what is in the air, behind the subject
STYLES = ("photo", "sketch", "painting", "pixel art")

PATTERNS = ("plain", "spots", "stripes", "patch", "checks", "zigzag", "half", "rings")
MARKS = ("none", "cheeks", "star", "heart", "bolt", "moon")
# build: factors of (width, height) around the category's norm
BUILDS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "regular": ((0.95, 1.05), (0.95, 1.05)),
    "tall": ((0.80, 0.90), (1.12, 1.24)),
    "chubby": ((1.14, 1.26), (0.80, 0.90)),
}
# fmt: on
SURE = 0.8  # a color word is sure if the next best is at least this much farther (ratio)


def _check(kind: str, value: str | None, allowed, optional: bool = False) -> None:
    if value is None and optional:
        return
    if value not in allowed:
        raise ValueError(f"unknown {kind} {value!r}: choose one of {', '.join(allowed)}")


@dataclass(frozen=True)
class Instance:
    """One individual of a category.

    Sizes are factors: 1 is the category's norm. ``detail`` scales the part that tells the
    category apart (ears, spout, handle, fins). ``layout`` seeds where spots and stripes sit.
    """

    primary: RGB
    secondary: RGB
    pattern: str = "plain"
    mark: str = "none"
    width: float = 1.0
    height: float = 1.0
    head: float = 1.0
    detail: float = 1.0
    layout: int = 0

    def __post_init__(self) -> None:
        _check("pattern", self.pattern, PATTERNS)
        _check("mark", self.mark, MARKS)
        for name in ("primary", "secondary"):
            rgb = tuple(int(v) for v in getattr(self, name))
            if len(rgb) != 3 or not all(0 <= v <= 255 for v in rgb):
                raise ValueError(
                    f"{name} must be three numbers from 0 to 255, got {getattr(self, name)!r}"
                )
            object.__setattr__(self, name, rgb)
        for name in ("width", "height", "head", "detail"):
            if not 0.5 <= getattr(self, name) <= 1.6:
                raise ValueError(
                    f"{name} must lie between 0.5 and 1.6, got {getattr(self, name)!r}"
                )

    @property
    def build(self) -> str:
        """``tall``, ``chubby`` or ``regular``, by the ratio of height to width."""
        ratio = self.height / self.width
        return "tall" if ratio > 1.18 else "chubby" if ratio < 0.85 else "regular"


@dataclass(frozen=True)
class Pose:
    """Where the subject stands: ``x`` in pixels from the centre, ``tilt`` in degrees."""

    x: float = 0.0
    scale: float = 1.0
    tilt: float = 0.0
    flip: bool = False


@dataclass(frozen=True)
class Scene:
    """A whole picture as data.

    ``place`` None is a plain backdrop, ``sky`` None an empty air. ``relation`` and ``object``
    go together.

    Raises:
        ValueError: a value is not one of the world's words; the message lists them.
    """

    category: str
    instance: Instance
    accessory: str | None = None
    relation: str | None = None
    object: str | None = None
    place: str | None = None
    sky: str | None = None
    style: str = "photo"
    pose: Pose = Pose()

    def __post_init__(self) -> None:
        _check("category", self.category, CATEGORIES)
        _check("accessory", self.accessory, ACCESSORIES, optional=True)
        _check("relation", self.relation, RELATIONS, optional=True)
        _check("object", self.object, OBJECTS, optional=True)
        _check("place", self.place, PLACES, optional=True)
        _check("sky", self.sky, SKIES, optional=True)
        _check("style", self.style, STYLES)
        if (self.relation is None) != (self.object is None):
            raise ValueError(
                f"relation and object go together, got relation={self.relation!r} "
                f"object={self.object!r}"
            )


# Labels a judge can score, and the classes of each; "none"/"plain" stand for absence.
LABELS: dict[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "color": tuple(COLORS),
    "second color": tuple(COLORS),
    "pattern": PATTERNS,
    "mark": MARKS,
    "build": tuple(BUILDS),
    "accessory": ("none", *ACCESSORIES),
    "relation": ("none", *RELATIONS),
    "object": ("none", *OBJECTS),
    "place": ("plain", *PLACES),
    "sky": ("none", *SKIES),
    "style": STYLES,
}


def labels(scene: Scene) -> dict[str, str | None]:
    """The truth about a scene, one entry per head of the judge.

    None where two words would do (a color between two, a second color that is not seen).
    """
    instance = scene.instance
    return {
        "category": scene.category,
        "color": sure_color(instance.primary),
        "second color": sure_color(instance.secondary) if instance.pattern != "plain" else None,
        "pattern": instance.pattern,
        "mark": instance.mark,
        "build": instance.build,
        "accessory": scene.accessory or "none",
        "relation": scene.relation or "none",
        "object": scene.object or "none",
        "place": scene.place or "plain",
        "sky": scene.sky or "none",
        "style": scene.style,
    }


# ---------------------------------------------------------------- colors and their words


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Color between ``a`` (share 0) and ``b`` (share 1)."""
    return tuple(int(round(x + (y - x) * share)) for x, y in zip(a, b, strict=True))


def color_distance(a: RGB, b: RGB) -> float:
    """Euclidean distance in 8-bit RGB."""
    return float(np.linalg.norm(np.subtract(a, b, dtype=float)))


def color_word(rgb: RGB) -> str:
    """The nearest of the color words."""
    return min(COLORS, key=lambda word: color_distance(COLORS[word], rgb))


def sure_color(rgb: RGB) -> str | None:
    """The nearest color word, or None if the second nearest would do nearly as well."""
    first, second = sorted(color_distance(value, rgb) for value in COLORS.values())[:2]
    return color_word(rgb) if first < SURE * second else None


# ---------------------------------------------------------------- plain data


def instance_from_dict(data: dict) -> Instance:
    """Inverse of ``dataclasses.asdict`` (JSON turns tuples into lists)."""
    return Instance(
        **{**data, "primary": tuple(data["primary"]), "secondary": tuple(data["secondary"])}
    )


def scene_to_dict(scene: Scene) -> dict:
    return asdict(scene)


def scene_from_dict(data: dict) -> Scene:
    return Scene(
        **{**data, "instance": instance_from_dict(data["instance"]), "pose": Pose(**data["pose"])}
    )


# ------------------------------------------------------------ combinations held out of pretraining

HELD_OUT_SHARE = 8  # one combination in eight


def _held(*words: str) -> bool:
    return zlib.crc32("|".join(words).encode()) % HELD_OUT_SHARE == 0


def is_held_out(scene: Scene) -> bool:
    """Whether pretraining must never draw this combination.

    One in eight of all (category, accessory, place) and of all (category, relation, place)
    is held out, whatever the colors, objects and styles.
    """
    place = scene.place or "plain"
    by_accessory = scene.accessory is not None and _held(scene.category, scene.accessory, place)
    by_relation = scene.relation is not None and _held(scene.category, scene.relation, place)
    return by_accessory or by_relation


def combinations() -> Iterator[dict[str, str | None]]:
    """Every combination of scene words, as keyword arguments of :class:`Scene`."""
    relations = [(None, None), *product(RELATIONS, OBJECTS)]
    for category, accessory, (relation, obj), place, sky, style in product(
        CATEGORIES, (None, *ACCESSORIES), relations, (None, *PLACES), (None, *SKIES), STYLES
    ):
        yield dict(category=category, accessory=accessory, relation=relation, object=obj,
                   place=place, sky=sky, style=style)  # fmt: skip
