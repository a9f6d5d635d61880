"""How the toy world speaks: captions in the method's own form.

    caption   -> [style "of"] subject [mark] tail
    style     -> "a photo" | "a photograph" | "a sketch" | ...   (STYLE_PHRASES)
    subject   -> article [filler] [build] [colors] [pattern] category
    colors    -> color | color "and" second color
    tail      -> accessory, relation, place and sky in one of ORDERS, each possibly unsaid

An unsaid style means a photo, an unsaid trait means nothing: the individual has it all the
same. Everything is a finite product of choices, so :func:`captions` lists every way to say a
scene and :func:`caption` draws one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from .scene import CATEGORIES, COLORS, OBJECTS, Scene, color_word

STYLE_PHRASES = {
    "photo": ("a photo of", "a photograph of"),
    "sketch": ("a sketch of", "a pencil sketch of"),
    "painting": ("a painting of", "an oil painting of"),
    "pixel art": ("pixel art of", "a pixel art picture of"),
}
PATTERN_WORDS = {
    "plain": ("plain",),
    "spots": ("spotted", "dotted"),
    "stripes": ("striped",),
    "patch": ("patched",),
    "checks": ("checkered",),
    "zigzag": ("zigzag",),
    "half": ("halved",),
    "rings": ("ringed",),
}
MARK_PHRASES = {
    "none": (),
    "cheeks": ("with rosy cheeks",),
    "star": ("with a star",),
    "heart": ("with a heart",),
    "bolt": ("with a lightning bolt",),
    "moon": ("with a crescent",),
}
BUILD_WORDS = {"regular": (), "tall": ("tall", "slim"), "chubby": ("chubby", "round")}
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
SKY_PHRASES = {
    "rainbow": ("under a rainbow", "with a rainbow"),
    "rain": ("in the rain",),
    "confetti": ("amid confetti", "under confetti"),
    "lanterns": ("under lanterns", "amid lanterns"),
}
# Fillers say nothing; they keep the adjective's slot flexible.
FILLERS = ("cute", "lovely", "little", "funny", "nice")
ORDERS = (
    ("accessory", "relation", "place", "sky"),
    ("relation", "accessory", "place", "sky"),
    ("place", "accessory", "relation", "sky"),
    ("accessory", "relation", "sky", "place"),
)
STOP_WORDS = frozenset(
    "a an the of in on at to with and top next under beside standing amid".split()
)

# Shares of the captions that say a trait or a thing (of those scenes that have it).
SAYS = {"color": 0.75, "second": 0.5, "pattern": 0.5, "mark": 0.5, "build": 0.5, "thing": 0.92}

# Spare one-token words that no caption uses: DreamBooth's "rare token".
RARE_WORDS = ("sks", "ohwx", "zwx")


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _colors(scene: Scene, second: bool) -> str:
    """One color word, or two where the pattern shows the second color and its word differs."""
    first, other = (color_word(rgb) for rgb in (scene.instance.primary, scene.instance.secondary))
    shown = second and scene.instance.pattern != "plain" and other != first
    return f"{first} and {other}" if shown else first


def _subject(scene: Scene, filler: str, build: str, colors: str, pattern: str) -> str:
    words = [w for w in (filler, build, colors, pattern, scene.category) if w]
    return " ".join([article(words[0]), *words])


def _tails(scene: Scene) -> dict[str, tuple[str, ...]]:
    relation = RELATION_PHRASES[scene.relation] if scene.relation else ()
    return {
        "accessory": ACCESSORY_PHRASES[scene.accessory] if scene.accessory else (),
        "relation": tuple(p.format(scene.object) for p in relation),
        "place": PLACE_PHRASES[scene.place] if scene.place else (),
        "sky": SKY_PHRASES[scene.sky] if scene.sky else (),
    }


def _join(*parts: str) -> str:
    return " ".join(p for p in parts if p)


def _subjects(scene: Scene) -> Iterator[str]:
    """Every way to say the subject, its mark included."""
    traits = scene.instance
    yield from (
        _join(_subject(scene, filler, build, colors, pattern), mark)
        for filler, build, colors, pattern, mark in product(
            ("", *FILLERS),
            (*BUILD_WORDS[traits.build], ""),
            dict.fromkeys((_colors(scene, False), _colors(scene, True), "")),
            (*PATTERN_WORDS[traits.pattern], ""),
            (*MARK_PHRASES[traits.mark], ""),
        )
    )


def captions(scene: Scene) -> Iterator[str]:
    """Every way the grammar can say a scene, without repeats and in a fixed order."""
    seen = set()
    styles = STYLE_PHRASES[scene.style] + (("",) if scene.style == "photo" else ())
    subjects = tuple(_subjects(scene))
    tails = {name: (*phrases, "") for name, phrases in _tails(scene).items()}
    for order in ORDERS:
        for style, subject, *tail in product(styles, subjects, *(tails[name] for name in order)):
            text = _join(style, subject, *tail)
            if text not in seen:
                seen.add(text)
                yield text


def caption(scene: Scene, seed: int) -> str:
    """One natural caption of a scene; the same scene and seed always give the same words.

    Things around the subject are nearly always said, its traits about half of the time
    (:data:`SAYS`), and one caption in seven has a filler adjective.
    """
    rng = np.random.default_rng([seed, 0xCA9])

    def choose(options):
        return options[int(rng.integers(len(options)))]

    def maybe(share: float, options) -> str:
        return choose(options) if options and rng.random() < share else ""

    traits = scene.instance
    tails = {name: maybe(SAYS["thing"], p) for name, p in _tails(scene).items()}
    style = choose(STYLE_PHRASES[scene.style])
    if scene.style == "photo" and rng.random() < 0.12:
        style = ""
    colors = maybe(SAYS["color"], (_colors(scene, second=bool(rng.random() < SAYS["second"])),))
    subject = _subject(
        scene,
        maybe(0.14, FILLERS),
        maybe(SAYS["build"], BUILD_WORDS[traits.build]),
        colors,
        maybe(SAYS["pattern"], PATTERN_WORDS[traits.pattern]),
    )
    mark = maybe(SAYS["mark"], MARK_PHRASES[traits.mark])
    order = ORDERS[0] if rng.random() < 0.7 else choose(ORDERS[1:])
    return _join(style, subject, mark, *(tails[name] for name in order))


def plain_caption(scene: Scene) -> str:
    """The caption that says everything in the grammar's first form (used for evaluation)."""
    traits = scene.instance
    words = (BUILD_WORDS[traits.build], (_colors(scene, True),), PATTERN_WORDS[traits.pattern])
    build, colors, pattern = (options[0] if options else "" for options in words)
    subject = _subject(scene, "", build, colors, pattern)
    tails = [p[0] for p in (MARK_PHRASES[traits.mark], *_tails(scene).values()) if p]
    return _join(STYLE_PHRASES[scene.style][0], subject, *tails)


def short_caption(scene: Scene) -> str:
    """As :func:`plain_caption`, but the subject is its main color and category alone."""
    subject = _subject(scene, "", "", _colors(scene, False), "")
    return _join(
        STYLE_PHRASES[scene.style][0], subject, *(p[0] for p in _tails(scene).values() if p)
    )


def vocabulary() -> list[str]:
    """Every word a caption can contain, plus the spare rare words, sorted."""
    phrases = [
        *STYLE_PHRASES.values(), *PATTERN_WORDS.values(), *MARK_PHRASES.values(),
        *BUILD_WORDS.values(), *ACCESSORY_PHRASES.values(), *RELATION_PHRASES.values(),
        *PLACE_PHRASES.values(), *SKY_PHRASES.values(), CATEGORIES, tuple(COLORS), OBJECTS,
        FILLERS, RARE_WORDS, ("a", "an", "and"),
    ]  # fmt: skip
    words = {w for group in phrases for phrase in group for w in phrase.format("").split()}
    return sorted(words)
