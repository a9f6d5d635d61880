"""What a picture of the toy world is made of: plain data, no drawing.

A :class:`Scene` says what is in the picture; :mod:`.render` draws it and
:mod:`.grammar` says it in words. Captions name the category, the color word, the
accessory, the relation with its object, the place and the style. They never name what
makes an individual an individual: exact colors, pattern, mark, proportions. That is
the :class:`Instance`, and it is what personalization has to learn.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np

RGB = tuple[int, int, int]

CATEGORIES = (
    "cat",
    "dog",
    "bear",
    "rabbit",
    "bird",
    "fish",
    "turtle",
    "robot",
    "car",
    "house",
    "mug",
    "teapot",
    "mushroom",
    "cactus",
)
COLORS: dict[str, RGB] = {
    "red": (214, 44, 44),
    "orange": (242, 136, 34),
    "yellow": (248, 212, 56),
    "green": (66, 164, 74),
    "blue": (52, 108, 216),
    "purple": (132, 72, 190),
    "pink": (247, 152, 194),
    "brown": (122, 78, 46),
    "white": (244, 243, 240),
    "black": (50, 50, 58),
}
ACCESSORIES = ("hat", "crown", "scarf", "glasses", "balloon", "umbrella")
RELATIONS = ("next to", "on top of", "holding")
OBJECTS = ("ball", "box", "drum", "cake", "pumpkin", "plant")
PLACES = ("beach", "snow", "forest", "city", "moon", "sea", "kitchen", "desert")
STYLES = ("photo", "sketch", "painting", "pixel art")

# What the model's pretraining draws, and what is kept back for the concepts alone.
COMMON_PATTERNS = ("plain", "spots", "stripes", "patch")
RARE_PATTERNS = ("checks", "zigzag", "half", "rings")
COMMON_MARKS = ("none", "cheeks")
RARE_MARKS = ("star", "heart", "bolt", "moon")
COMMON_SIZE = (0.90, 1.10)  # width, height, head, detail: factors around the category's norm
RARE_SIZE = (0.78, 1.26)
COLOR_JITTER = 14  # per channel, around the color word
RARE_COLOR_DISTANCE = (
    45.0  # a concept's primary color is at least this far (RGB) from every color word
)


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
        _check("pattern", self.pattern, COMMON_PATTERNS + RARE_PATTERNS)
        _check("mark", self.mark, COMMON_MARKS + RARE_MARKS)
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

    ``color`` is the word a caption may use for the subject, or None if no word fits.
    ``place`` None is a plain backdrop. ``relation`` and ``object`` go together.

    Raises:
        ValueError: a value is not one of the world's words; the message lists them.
    """

    category: str
    instance: Instance
    color: str | None = None
    accessory: str | None = None
    relation: str | None = None
    object: str | None = None
    place: str | None = None
    style: str = "photo"
    pose: Pose = Pose()

    def __post_init__(self) -> None:
        _check("category", self.category, CATEGORIES)
        _check("color", self.color, tuple(COLORS), optional=True)
        _check("accessory", self.accessory, ACCESSORIES, optional=True)
        _check("relation", self.relation, RELATIONS, optional=True)
        _check("object", self.object, OBJECTS, optional=True)
        _check("place", self.place, PLACES, optional=True)
        _check("style", self.style, STYLES)
        if (self.relation is None) != (self.object is None):
            raise ValueError(
                f"relation and object go together, got relation={self.relation!r} object={self.object!r}"
            )


# Labels a judge can score, and the classes of each; "none"/"plain" stand for absence.
LABELS: dict[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "color": tuple(COLORS),
    "accessory": ("none", *ACCESSORIES),
    "relation": ("none", *RELATIONS),
    "object": ("none", *OBJECTS),
    "place": ("plain", *PLACES),
    "style": STYLES,
}


def labels(scene: Scene) -> dict[str, str | None]:
    """The truth about a scene, one entry per head of the judge (color None if no word fits)."""
    return {
        "category": scene.category,
        "color": scene.color,
        "accessory": scene.accessory or "none",
        "relation": scene.relation or "none",
        "object": scene.object or "none",
        "place": scene.place or "plain",
        "style": scene.style,
    }


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


# ---------------------------------------------------------------- combinations held out of pretraining

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
    """Every combination of words the grammar can say, as keyword arguments of :class:`Scene`."""
    relations = [(None, None), *product(RELATIONS, OBJECTS)]
    for category, color, accessory, (relation, obj), place, style in product(
        CATEGORIES, COLORS, (None, *ACCESSORIES), relations, (None, *PLACES), STYLES
    ):
        yield dict(
            category=category,
            color=color,
            accessory=accessory,
            relation=relation,
            object=obj,
            place=place,
            style=style,
        )


# ---------------------------------------------------------------- drawing lots


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Color between ``a`` (share 0) and ``b`` (share 1)."""
    return tuple(int(round(x + (y - x) * share)) for x, y in zip(a, b))


def color_distance(a: RGB, b: RGB) -> float:
    """Euclidean distance in 8-bit RGB."""
    return float(np.linalg.norm(np.subtract(a, b, dtype=float)))


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def _jitter(rng: np.random.Generator, rgb: RGB, amount: int = COLOR_JITTER) -> RGB:
    return tuple(int(v) for v in np.clip(np.add(rgb, rng.integers(-amount, amount + 1, 3)), 0, 255))


def _sizes(rng: np.random.Generator, span: tuple[float, float]) -> dict[str, float]:
    return {
        name: round(float(rng.uniform(*span)), 3) for name in ("width", "height", "head", "detail")
    }


def sample_instance(rng: np.random.Generator, color: str) -> Instance:
    """A common individual: what the model's pretraining draws."""
    primary = _jitter(rng, COLORS[color])
    light, cream, dark = (
        mix(primary, (255, 255, 255), 0.6),
        (250, 236, 212),
        mix(primary, (20, 16, 24), 0.45),
    )
    options = [light, cream, dark]
    if color == "white":
        options = [(206, 206, 212), cream, (176, 170, 168)]
    if color == "black":
        options = [(112, 112, 122), (150, 150, 156), cream]
    return Instance(
        primary=primary,
        secondary=_jitter(rng, _pick(rng, options), 8),
        pattern=str(rng.choice(COMMON_PATTERNS, p=(0.3, 0.25, 0.2, 0.25))),
        mark=_pick(rng, COMMON_MARKS),
        layout=int(rng.integers(2**31)),
        **_sizes(rng, COMMON_SIZE),
    )


def sample_rare_instance(rng: np.random.Generator) -> Instance:
    """Any individual at all: the judge's identity embedding learns on these, pretraining never sees them."""
    primary = tuple(int(v) for v in rng.integers(25, 250, 3))
    secondary = tuple(int(v) for v in rng.integers(25, 250, 3))
    while color_distance(primary, secondary) < 90:
        secondary = tuple(int(v) for v in rng.integers(25, 250, 3))
    return Instance(
        primary=primary,
        secondary=secondary,
        pattern=_pick(rng, COMMON_PATTERNS + RARE_PATTERNS),
        mark=_pick(rng, COMMON_MARKS + RARE_MARKS),
        layout=int(rng.integers(2**31)),
        **_sizes(rng, RARE_SIZE),
    )


def is_common(instance: Instance) -> bool:
    """Whether pretraining could have drawn this individual (see :func:`sample_instance`)."""
    near = any(
        np.max(np.abs(np.subtract(instance.primary, rgb))) <= COLOR_JITTER
        for rgb in COLORS.values()
    )
    sizes = (instance.width, instance.height, instance.head, instance.detail)
    return (
        near
        and instance.pattern in COMMON_PATTERNS
        and instance.mark in COMMON_MARKS
        and all(COMMON_SIZE[0] <= s <= COMMON_SIZE[1] for s in sizes)
    )


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
) -> Scene:
    """Draw a scene of common individuals.

    Args:
        held_out: draw only combinations kept out of pretraining, else only the others.
        place, accessory, relation: probability that the scene has one.
    """
    while True:
        color = _pick(rng, tuple(COLORS))
        has_relation = rng.random() < relation
        scene = Scene(
            category=_pick(rng, CATEGORIES),
            instance=sample_instance(rng, color),
            color=color,
            accessory=_pick(rng, ACCESSORIES) if rng.random() < accessory else None,
            relation=_pick(rng, RELATIONS) if has_relation else None,
            object=_pick(rng, OBJECTS) if has_relation else None,
            place=_pick(rng, PLACES) if rng.random() < place else None,
            style=str(rng.choice(STYLES, p=(0.4, 0.2, 0.2, 0.2))),
            pose=sample_pose(rng),
        )
        if is_held_out(scene) == held_out:
            return scene


def restage(scene: Scene, rng: np.random.Generator, **changes) -> Scene:
    """The same individual in another picture: new pose, and whatever ``changes`` says."""
    return replace(scene, pose=sample_pose(rng), **changes)
