"""Controls with the judge and CLIP: what is right scores high, what is wrong by chance.

Drawn pictures with known truth stand in for generations.
"""

import json

import numpy as np
import pytest

from adb_core.concept import Concept, bundled_concepts
from adb_core.judges import load_clip, load_judge
from adb_core.metrics import (
    PLAIN,
    chance_accuracy,
    cosine_to_mean,
    embed_images,
    embed_texts,
    mean_cosine,
    paired_cosine,
    score_pictures,
    training_places,
)
from adb_core.system.paths import data_path
from adb_core.toyworld.scene import instance_from_dict
from adb_core.toyworld.truth import true_picture

VIEWS = 4  # drawn pictures of each concept for identity


@pytest.fixture
def names() -> list[str]:
    return [name for half in ("tuning", "held_out") for name in bundled_concepts()[half]]


def drawn(name: str, asks: dict, seed: int) -> np.ndarray:
    """The concept as a perfect model would show it, uint8 (128, 128, 3)."""
    info = Concept.bundled(name).info
    instance = instance_from_dict(info["instance"])
    return true_picture(info["category"], instance, asks, 40_000_000 + seed)


def complex_prompts() -> list[dict]:
    """Prompts that ask for three and for four things beyond the subject."""
    files = (data_path("prompts", f"complexity_{number}.json") for number in (3, 4))
    return [entry for file in files for entry in json.loads(file.read_text())["prompts"]]


def test_control_shuffled_prompts_fall_to_chance(names):
    """Text: perfect pictures score near 1 for their own prompts, and chance for others'."""
    judge, asks = load_judge(), [entry["asks"] for entry in complex_prompts()]
    for name in (names[0], names[-1]):
        images = np.stack([drawn(name, asked, k) for k, asked in enumerate(asks)])
        concept = Concept.bundled(name)
        right = np.nanmean(score_pictures(images, asks, concept, judge=judge)[0]["text"])
        # every rotation of the prompts, so that the control is a mean over all wrong pairs
        wrong = np.mean(
            [
                np.nanmean(
                    score_pictures(images, asks[k:] + asks[:k], concept, judge=judge)[0]["text"]
                )
                for k in range(1, len(asks), 3)
            ]
        )
        assert right > 0.85
        assert abs(wrong - chance_accuracy(asks)) < 0.1 and wrong < right - 0.5


def identities(judge, names) -> dict[str, np.ndarray]:
    """name -> identities of new pictures of it, (VIEWS, c), elsewhere than in its photos."""
    places = ("moon", "desert", "forest", "kitchen")
    return {
        name: judge.identity(
            np.stack([drawn(name, {"place": places[k]}, 100 * i + k) for k in range(VIEWS)])
        )
        for i, name in enumerate(names)
    }


def test_control_another_concepts_photos_fall_to_chance(names):
    """Identity: a new picture is most like its own concept's photos; given others' it is not."""
    judge = load_judge()
    photos = {name: judge.identity(np.stack(Concept.bundled(name).images)) for name in names}
    found = identities(judge, names)
    likeness = np.array(
        [[cosine_to_mean(found[a], photos[b]).mean() for b in names] for a in names]
    )  # (picture of, photos of)
    own, others = likeness.diagonal(), likeness[~np.eye(len(names), dtype=bool)]
    assert (own > 0.5).all() and own.mean() - others.mean() > 0.4
    named = likeness.argmax(1) == np.arange(len(names))
    assert named.mean() >= 0.9  # chance is 1 / 20
    shifted = np.roll(likeness, 1, axis=1)  # every concept with another's photos
    assert (shifted.argmax(1) == np.arange(len(names))).mean() <= 2 / len(names)
    assert shifted.diagonal().mean() < own.mean() - 0.4


def test_control_leakage_of_drawn_backgrounds():
    """Pictures in the asked place leak nothing; pictures in the photos' place leak always."""
    judge, concept = load_judge(), Concept.bundled("pico")
    trained = sorted(training_places(concept) - {PLAIN})
    asks = [{"style": "photo", "place": place} for place in ("moon", "snow", "forest", "desert")]
    right = np.stack([drawn("pico", asked, 900 + k) for k, asked in enumerate(asks)])
    leaked = np.stack(
        [drawn("pico", {"place": trained[k % len(trained)]}, 950 + k) for k in range(len(asks))]
    )
    assert score_pictures(right, asks, concept, judge=judge)[0]["leakage"].mean() <= 0.25
    assert score_pictures(leaked, asks, concept, judge=judge)[0]["leakage_named"].mean() >= 0.75


def test_control_clip_prefers_the_right_words_and_the_right_concept():
    clip, entries = load_clip(), complex_prompts()
    asks = [entry["asks"] for entry in entries]
    concept, other = Concept.bundled("pico"), Concept.bundled("dash")
    texts = [entry["prompt"].replace("{}", concept.category) for entry in entries]
    images = np.stack([drawn("pico", asked, 500 + k) for k, asked in enumerate(asks)])
    words = embed_texts(clip, texts)
    cosine = (
        embed_images(clip, images) @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
    )  # order within a row is the cosine's
    assert (cosine.argmax(1) == np.arange(len(texts))).mean() > 0.5  # chance is 1 / 24
    assert (
        paired_cosine(embed_images(clip, images), embed_texts(clip, texts)).mean()
        > paired_cosine(embed_images(clip, images), embed_texts(clip, texts[5:] + texts[:5])).mean()
        + 0.1
    )
    plain = np.stack(
        [
            drawn("pico", {"place": place}, 700 + k)
            for k, place in enumerate(("beach", "kitchen", "moon"))
        ]
    )
    own = mean_cosine(embed_images(clip, plain), embed_images(clip, concept.images))
    assert (
        own.mean() > mean_cosine(embed_images(clip, plain), embed_images(clip, other.images)).mean()
    )
