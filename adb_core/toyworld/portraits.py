"""Who the bundled concepts are, and what pretraining must keep away from.

A concept is a combination: category, two colors, pattern, mark, build, and where its spots
sit. Every one of these traits is drawn in pretraining, in other company. An individual is
near a concept if it has the same category and shares at least :data:`SHARED` of the four
traits that a person would name first: main color, second color, pattern, mark.
"""

from __future__ import annotations

from dataclasses import dataclass

from .scene import Instance, color_distance

NEAR_COLOR = 60.0  # RGB distance within which two colors count as the same
SHARED = 3  # of main color, second color, pattern, mark


@dataclass(frozen=True)
class Portrait:
    """A concept: who it is, where its photos were taken and which half it belongs to."""

    name: str
    category: str
    instance: Instance
    places: tuple[str | None, ...]
    split: str
    looks: str


# fmt: off
PORTRAITS = (
    # ---- for tuning
    Portrait("pico", "cat",
        Instance((38, 178, 172), (240, 120, 60), "spots", "star", 1.18, 0.86, 1.10, 1.20, 11),
        (None, "kitchen", None, "beach", "kitchen"), "tuning",
        "chubby teal cat with orange spots, a star and big ears"),
    Portrait("bolt", "robot",
        Instance((168, 224, 40), (120, 30, 120), "checks", "bolt", 0.85, 1.16, 1.15, 1.20, 12),
        ("city", None, "city", None, "snow"), "tuning",
        "tall lime robot with purple checks and a lightning bolt"),
    Portrait("nori", "teapot",
        Instance((28, 32, 120), (250, 170, 190), "zigzag", "moon", 1.16, 0.88, 1.20, 1.20, 13),
        (None, "forest", "forest", None, "desert"), "tuning",
        "chubby navy teapot with a pink zigzag and a crescent"),
    Portrait("mellow", "rabbit",
        Instance((186, 174, 240), (40, 150, 90), "half", "heart", 0.85, 1.14, 1.14, 0.82, 14),
        ("beach", None, None, "moon", "beach"), "tuning",
        "tall lavender rabbit, half green, with a heart and short ears"),
    Portrait("dash", "car",
        Instance((226, 40, 150), (170, 236, 250), "stripes", "star", 0.86, 1.18, 1.20, 1.16, 15),
        ("desert", None, "desert", "kitchen", None), "tuning",
        "tall magenta car with icy stripes and a star"),
    Portrait("cumin", "mushroom",
        Instance((144, 138, 32), (60, 230, 220), "rings", "moon", 1.18, 0.85, 1.16, 1.12, 16),
        (None, "snow", None, "snow", "city"), "tuning",
        "chubby olive mushroom with turquoise rings and a crescent"),
    Portrait("flora", "cactus",
        Instance((250, 150, 196), (64, 60, 160), "spots", "heart", 1.16, 0.88, 1.10, 1.18, 17),
        ("kitchen", None, "kitchen", None, "city"), "tuning",
        "chubby pink cactus with indigo spots and a heart"),
    Portrait("gus", "fish",
        Instance((246, 206, 60), (30, 120, 120), "checks", "cheeks", 1.15, 0.86, 1.16, 1.20, 18),
        ("sea", None, "sea", None, "beach"), "tuning",
        "chubby yellow fish with teal checks, rosy cheeks and large fins"),
    # ---- held out
    Portrait("zorro", "dog",
        Instance((252, 130, 104), (30, 70, 130), "checks", "heart", 1.16, 0.86, 1.14, 0.82, 21),
        ("forest", None, "forest", None, "kitchen"), "held_out",
        "chubby coral dog with navy checks, a heart and short ears"),
    Portrait("luna", "bear",
        Instance((140, 226, 190), (130, 40, 110), "half", "moon", 0.85, 1.15, 1.14, 1.22, 22),
        (None, "city", None, "city", "beach"), "held_out",
        "tall mint bear, half plum, with a crescent and large ears"),
    Portrait("toto", "turtle",
        Instance((112, 16, 72), (250, 220, 90), "rings", "star", 0.87, 1.18, 1.20, 1.16, 23),
        ("sea", None, "sea", "desert", None), "held_out",
        "tall wine-red turtle with yellow rings and a star"),
    Portrait("sol", "mug",
        Instance((120, 206, 250), (230, 90, 30), "zigzag", "bolt", 0.86, 1.14, 1.16, 1.20, 24),
        (None, "kitchen", "kitchen", None, "snow"), "held_out",
        "tall sky-blue mug with an orange zigzag and a lightning bolt"),
    Portrait("pip", "bird",
        Instance((198, 226, 70), (110, 20, 130), "zigzag", "heart", 1.18, 0.86, 1.14, 1.18, 25),
        ("moon", None, None, "forest", "moon"), "held_out",
        "chubby chartreuse bird with a violet zigzag and a heart"),
    Portrait("casa", "house",
        Instance((10, 116, 122), (250, 150, 130), "checks", "star", 0.86, 1.16, 1.18, 0.84, 26),
        (None, "beach", None, "beach", "forest"), "held_out",
        "tall petrol house with salmon checks and a star"),
    Portrait("olive", "cat",
        Instance((244, 240, 232), (150, 40, 60), "patch", "moon", 0.86, 1.16, 1.12, 0.82, 27),
        ("snow", None, "snow", None, "city"), "held_out",
        "tall white cat with a wine-red patch, a crescent and small ears"),
    Portrait("rusty", "robot",
        Instance((206, 92, 40), (120, 220, 240), "rings", "heart", 1.16, 0.88, 1.10, 0.84, 28),
        ("desert", None, "moon", None, "desert"), "held_out",
        "chubby rust-red robot with icy rings and a heart"),
    Portrait("minty", "teapot",
        Instance((150, 234, 200), (230, 50, 90), "spots", "star", 0.86, 1.15, 1.16, 1.18, 29),
        ("beach", None, "beach", None, "forest"), "held_out",
        "tall mint teapot with raspberry spots and a star"),
    Portrait("plum", "rabbit",
        Instance((104, 40, 128), (250, 200, 70), "stripes", "bolt", 1.16, 0.87, 1.12, 1.20, 30),
        (None, "forest", None, "kitchen", "forest"), "held_out",
        "chubby plum rabbit with golden stripes, a lightning bolt and long ears"),
    Portrait("coco", "mushroom",
        Instance((110, 66, 40), (255, 190, 210), "zigzag", "star", 0.87, 1.16, 1.14, 1.10, 31),
        ("forest", None, "moon", None, "forest"), "held_out",
        "tall brown mushroom with a rose zigzag and a star"),
    Portrait("tango", "car",
        Instance((40, 44, 56), (250, 160, 40), "spots", "bolt", 1.15, 0.88, 1.14, 0.84, 32),
        ("city", None, "city", "snow", None), "held_out",
        "chubby black car with orange spots and a lightning bolt"),
)
# fmt: on


def shared_traits(one: Instance, other: Instance) -> int:
    """How many of main color, second color, pattern and mark the two have in common."""
    return (
        (color_distance(one.primary, other.primary) < NEAR_COLOR)
        + (color_distance(one.secondary, other.secondary) < NEAR_COLOR)
        + (one.pattern == other.pattern)
        + (one.mark == other.mark)
    )


def near_concept(category: str, instance: Instance) -> bool:
    """Whether pretraining must not draw this individual: it looks too much like a concept."""
    return any(
        portrait.category == category and shared_traits(portrait.instance, instance) >= SHARED
        for portrait in PORTRAITS
    )
