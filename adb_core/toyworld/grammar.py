"""How the toy world speaks: captions in the method's own form.

    caption   -> [style "of"] subject tail
    style     -> "a photo" | "a photograph" | "a sketch" | "a pencil drawing" | ...   (STYLE_PHRASES)
    subject   -> article [filler] [color] category
    tail      -> the accessory, relation and place phrases in one of ORDERS, each possibly unsaid

An unsaid style means a photo. Everything is a finite product of choices, so
:func:`captions` lists every way to say a scene and :func:`caption` draws one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from .scene import CATEGORIES, COLORS, OBJECTS, Scene

STYLE_PHRASES = {
    "photo": ("a photo of", "a photograph of"),
    "sketch": ("a sketch of", "a pencil sketch of"),
    "painting": ("a painting of", "an oil painting of"),
    "pixel art": ("pixel art of", "a pixel art picture of"),
}
ACCESSORY_PHRASES = {
    "hat": ("wearing a hat", "with a hat", "in a hat"),
    "crown": ("wearing a crown", "with a crown"),
    "scarf": ("wearing a scarf", "with a scarf"),
    "glasses": ("wearing glasses", "with glasses"),
    "balloon": ("with a balloon", "and a balloon"),
    "umbrella": ("with an umbrella", "under an umbrella"),
}
RELATION_PHRASES = {
    "next to": ("next to a {}", "beside a {}"),
    "on top of": ("on top of a {}", "standing on a {}"),
    "holding": ("holding a {}", "carrying a {}"),
}
PLACE_PHRASES = {
    "beach": ("on the beach", "at the beach"),
    "snow": ("in the snow",),
    "forest": ("in the forest", "in a forest"),
    "city": ("in the city", "in a city"),
    "moon": ("on the moon",),
    "sea": ("under the sea", "in the sea"),
    "kitchen": ("in the kitchen", "in a kitchen"),
    "desert": ("in the desert", "in a desert"),
}
FILLERS = (
    "cute",
    "lovely",
    "little",
    "funny",
    "nice",
)  # say nothing; they keep the adjective's slot flexible
ORDERS = (
    ("accessory", "relation", "place"),
    ("relation", "accessory", "place"),
    ("place", "accessory", "relation"),
)
STOP_WORDS = frozenset("a an the of in on at to with and top next under beside standing".split())

# Spare one-token words that no caption uses: DreamBooth's "rare token".
RARE_WORDS = ("sks", "ohwx", "zwx")


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _subject(scene: Scene, *, filler: str = "", color: bool = True) -> str:
    words = [filler, scene.color if color and scene.color else "", scene.category]
    words = [w for w in words if w]
    return " ".join([article(words[0]), *words])


def _tails(scene: Scene) -> dict[str, tuple[str, ...]]:
    return {
        "accessory": ACCESSORY_PHRASES[scene.accessory] if scene.accessory else (),
        "relation": tuple(p.format(scene.object) for p in RELATION_PHRASES[scene.relation])
        if scene.relation
        else (),
        "place": PLACE_PHRASES[scene.place] if scene.place else (),
    }


def _join(*parts: str) -> str:
    return " ".join(p for p in parts if p)


def captions(scene: Scene) -> Iterator[str]:
    """Every way the grammar can say a scene, without repeats and in a fixed order."""
    seen = set()
    styles = STYLE_PHRASES[scene.style] + (("",) if scene.style == "photo" else ())
    subjects = [
        _subject(scene, filler=f, color=c) for f, c in product(("", *FILLERS), (True, False))
    ]
    tails = {name: (*said, "") for name, said in _tails(scene).items()}
    for order in ORDERS:
        for style, subject, *tail in product(styles, subjects, *(tails[name] for name in order)):
            text = _join(style, subject, *tail)
            if text not in seen:
                seen.add(text)
                yield text


def caption(scene: Scene, seed: int) -> str:
    """One natural caption of a scene; the same scene and seed always give the same words.

    About one attribute in ten is left unsaid, and one caption in seven has a filler adjective.
    """
    rng = np.random.default_rng([seed, 0xCA9])

    def choose(options):
        return options[int(rng.integers(len(options)))]

    said = {
        name: choose(p) if p and rng.random() < 0.92 else "" for name, p in _tails(scene).items()
    }
    style = choose(STYLE_PHRASES[scene.style])
    if scene.style == "photo" and rng.random() < 0.12:
        style = ""
    filler = choose(FILLERS) if rng.random() < 0.14 else ""
    subject = _subject(scene, filler=filler, color=rng.random() < 0.88)
    order = ORDERS[0] if rng.random() < 0.7 else choose(ORDERS[1:])
    return _join(style, subject, *(said[name] for name in order))


def plain_caption(scene: Scene) -> str:
    """The caption that says everything in the grammar's first form (used for evaluation)."""
    tails = _tails(scene)
    return _join(
        STYLE_PHRASES[scene.style][0], _subject(scene), *(p[0] for p in tails.values() if p)
    )


def vocabulary() -> list[str]:
    """Every word a caption can contain, plus the spare rare words, sorted."""
    phrases = [
        *STYLE_PHRASES.values(),
        *ACCESSORY_PHRASES.values(),
        *RELATION_PHRASES.values(),
        *PLACE_PHRASES.values(),
        CATEGORIES,
        tuple(COLORS),
        OBJECTS,
        FILLERS,
        RARE_WORDS,
        ("a", "an"),
    ]
    words = {w for group in phrases for phrase in group for w in phrase.format("").split()}
    return sorted(words)
