"""Every score as one function of the evidence, and the two tables that list them.

A new metric is one function and one line in a table: in ``PICTURE_METRICS`` if pictures and their
prompts are enough for it, in ``MODEL_METRICS`` if it asks the model too. A metric returns its
values (n,), NaN where a picture does not count, or several such arrays by name; it raises
:class:`LeftOut` where it cannot be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ..generation import generate, prompt_words
from .attributes import found_shares, leaks, training_places
from .embeddings import embed_images
from .evidence import Evidence, LeftOut, Pictures
from .maps import word_overlaps
from .similarity import cosine_to_mean, mean_cosine, paired_cosine, pixel_difference

Values = np.ndarray | Mapping[str, np.ndarray]


def identity(pictures: Pictures) -> np.ndarray:
    """How much the individual is the photos', [-1, 1]."""
    return cosine_to_mean(*pictures.identities)


def text(pictures: Pictures) -> np.ndarray:
    """The share of the asked attributes that the judge finds, [0, 1]."""
    return found_shares(pictures.read, pictures.asks)


def category(pictures: Pictures) -> np.ndarray:
    """0 or 1: whether it still is one of its category."""
    own = pictures.concept.category
    return np.array([float(word == own) for word in pictures.read["category"]])


def leakage(pictures: Pictures) -> Values:
    """0 or 1, only of pictures that can show a training background where another was asked for."""
    places, trained = pictures.read["place"], training_places(pictures.concept)
    if not trained:
        raise LeftOut("the concept does not say where its photos were taken")
    return {
        "leakage": leaks(places, pictures.asks, trained),
        "leakage_named": leaks(places, pictures.asks, trained, named=True),
    }


def clip_i(pictures: Pictures) -> np.ndarray:
    """CLIP-I: mean cosine to the photos, [-1, 1]."""
    return mean_cosine(pictures.embedded, pictures.embedded_photos)


def clip_t(pictures: Pictures) -> np.ndarray:
    """CLIP-T: cosine to the prompt in plain words, [-1, 1]."""
    return paired_cosine(pictures.embedded, pictures.embedded_texts)


def pointing(evidence: Evidence) -> Values:
    """The pointing game on the photos, of [V] and of the category, with its chance, [0, 1]."""
    return evidence.named("pointing")


def iou(evidence: Evidence) -> Values:
    """Intersection over union of map and subject on the photos, [0, 1]."""
    return evidence.named("iou")


def ratio(evidence: Evidence) -> np.ndarray:
    """[V]'s mean attention over the category's on the photos, >= 0."""
    if "ratio" not in evidence.quality:
        raise LeftOut("this recipe's prompts do not name the category")
    return evidence.quality["ratio"]


def overlap_others(evidence: Evidence) -> Values:
    """How much [V]'s map during generation is also the category's, and other words', [0, 1]."""
    if evidence.generation.maps is None:
        raise LeftOut("the pictures were generated without recording attention")
    model, name = evidence.model, evidence.pictures.concept.category
    words = model.words or [word for word, _ in prompt_words(model.text.tokenizers[0], name)]
    return word_overlaps(evidence.generation, words, name)


def drift_pixels(evidence: Evidence) -> Values:
    """How far pictures of the plain category have moved from the base model's.

    In pixels, [0, 1]; where there is a CLIP, also the cosine of its embeddings, [-1, 1].
    """
    model, base, options = evidence.model, evidence.base, evidence.options
    if not len(options.drift_seeds):
        raise LeftOut("no seeds for it were given")
    if model.unet is base.unet:
        trained = "the untrained model is not at hand: pass base="
        raise LeftOut(trained if model.words else "this is the base model")
    prompt = f"a photo of a {evidence.pictures.concept.category}"
    before = generate(base, prompt, options.drift_seeds, **options.sampling).images
    # Rows of the new word apart, the text encoder is the base's: the U-Net alone can have moved.
    moved: Any = replace(cast(Any, model.base), unet=model.unet)
    after = generate(moved, prompt, options.drift_seeds, **options.sampling).images
    values = {"drift_pixels": pixel_difference(before, after)}
    if (clip := evidence.pictures.clip) is not None:
        pair = (embed_images(clip, images) for images in (before, after))
        values["drift_clip_i"] = paired_cosine(*pair)
    return values


PICTURE_METRICS: dict[str, Callable[[Pictures], Values]] = {
    "identity": identity,
    "text": text,
    "category": category,
    "leakage": leakage,
    "clip_i": clip_i,
    "clip_t": clip_t,
}
MODEL_METRICS: dict[str, Callable[[Evidence], Values]] = {
    "pointing": pointing,
    "iou": iou,
    "ratio": ratio,
    "overlap_others": overlap_others,
    "drift_pixels": drift_pixels,
}


def measure(metrics: Mapping[str, Callable], evidence) -> tuple[dict, dict[str, str]]:
    """Apply every metric of a table.

    Returns:
        Values by name, and name -> why of the metrics that were left out.
    """
    values: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for name, function in metrics.items():
        try:
            result = function(evidence)
        except LeftOut as why:
            left_out[name] = str(why)
            continue
        values |= result if isinstance(result, Mapping) else {name: result}
    return values, left_out
