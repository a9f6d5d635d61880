"""Captions that are wrong in one thing: what a text tower has to tell from the true ones.

In a batch of random pictures place, color and category nearly always decide which caption belongs
to which, so nothing rewards a state for saying "striped" rather than "spotted", or "in the rain":
after 1,050 steps without wrong captions, exchanging such a word left the cosine of two texts at
1.000. A wrong caption of the same picture makes each said thing count (as the negatives of
NegCLIP, Yuksekgonul et al. 2023, which exchange words of real captions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..tinymodel.relatives import changed
from ..toyworld.grammar import (
    ACCESSORY_PHRASES,
    BUILD_WORDS,
    MARK_PHRASES,
    PATTERN_WORDS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    SKY_PHRASES,
    caption,
)
from ..toyworld.scene import OBJECTS, Scene, color_word

# kind of thing -> how a scene's is said; nothing where it is not said at all
PHRASES: dict[str, Callable[[Scene], tuple[str, ...]]] = {
    "pattern": lambda s: PATTERN_WORDS[s.instance.pattern],
    "mark": lambda s: MARK_PHRASES[s.instance.mark],
    "build": lambda s: BUILD_WORDS[s.instance.build],
    "second color": lambda s: (f"and {color_word(s.instance.secondary)}",),
    "accessory": lambda s: ACCESSORY_PHRASES[s.accessory] if s.accessory else (),
    "relation": lambda s: _relation(s),
    "object": lambda s: _relation(s),
    "place": lambda s: PLACE_PHRASES[s.place] if s.place else (),
    "sky": lambda s: SKY_PHRASES[s.sky] if s.sky else (),
}
CHOICES = {
    "accessory": tuple(ACCESSORY_PHRASES),
    "relation": tuple(RELATION_PHRASES),
    "object": tuple(OBJECTS),
    "place": tuple(PLACE_PHRASES),
    "sky": tuple(SKY_PHRASES),
}
TRIES = 4  # a change may be to something that has no word


def _relation(scene: Scene) -> tuple[str, ...]:
    if not scene.relation:
        return ()
    return tuple(phrase.format(scene.object) for phrase in RELATION_PHRASES[scene.relation])


def says(text: str, scene: Scene, kind: str) -> bool:
    """Whether a caption says a scene's thing of that kind."""
    return any(f" {phrase} " in f" {text} " for phrase in PHRASES[kind](scene))


def wrong_captions(
    scene: Scene, seed: int, count: int, rng: np.random.Generator
) -> tuple[str, list[str]]:
    """The caption of a seed, and up to ``count`` that are the same but for one thing each.

    Only what the caption says is changed, to something that it then says and that is not so.
    """
    text = caption(scene, seed)
    said = [kind for kind in PHRASES if says(text, scene, kind)]
    found = []
    for kind in rng.permutation(said)[:count].tolist():
        for _ in range(TRIES):
            other = _otherwise(scene, kind, rng)
            wrong = caption(other, seed)
            if says(wrong, other, kind) and not says(wrong, scene, kind):
                found.append(wrong)
                break
    return text, found


def _otherwise(scene: Scene, kind: str, rng: np.random.Generator) -> Scene:
    """The scene with one thing changed."""
    if kind not in CHOICES:
        return replace(scene, instance=changed(scene.instance, kind, rng))
    others = [word for word in CHOICES[kind] if word != getattr(scene, kind)]
    return replace(scene, **{kind: str(rng.choice(others))})
