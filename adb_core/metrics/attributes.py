"""What a prompt asked for, and what a judge finds in the picture. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

PLAIN = "plain"  # what the judge calls a picture without a place


def attribute_hits(
    read: Mapping[str, Sequence[str]], asks: Sequence[Mapping[str, str]]
) -> dict[str, list[float]]:
    """Which asked attributes a judge found.

    Args:
        read: label -> word of each picture (length n). asks: n dicts, label -> word.

    Returns:
        Per label 1.0 or 0.0 for each picture that was asked for it.
    """
    hits: dict[str, list[float]] = {}
    for picture, asked in enumerate(asks):
        for label, word in asked.items():
            hits.setdefault(label, []).append(float(read[label][picture] == word))
    return hits


def found_shares(
    read: Mapping[str, Sequence[str]], asks: Sequence[Mapping[str, str]]
) -> np.ndarray:
    """The share of what was asked that a judge found in each picture.

    Args:
        read, asks: as of :func:`attribute_hits`.

    Returns:
        (n,) in [0, 1], NaN where nothing was asked.
    """
    return np.array(
        [
            np.mean([read[label][i] == word for label, word in asked.items()]) if asked else np.nan
            for i, asked in enumerate(asks)
        ]
    )


def chance_accuracy(asks: Sequence[Mapping[str, str]]) -> float:
    """What a perfect picture scores against another picture's prompt, in [0, 1].

    The level that the control with shuffled prompts falls to.
    """
    shares = [
        np.mean([other.get(label) == word for label, word in asked.items()])
        for i, asked in enumerate(asks)
        if asked
        for j, other in enumerate(asks)
        if i != j
    ]
    return float(np.mean(shares)) if shares else 0.0


def training_places(concept) -> set[str]:
    """Where a concept's photos were taken, in the judge's words.

    Empty if its ``concept.json`` does not say.
    """
    return {photo.get("place") or PLAIN for photo in concept.info.get("photos", [])}


def leaks(
    places: Sequence[str],
    asks: Sequence[Mapping[str, str]],
    trained: set[str],
    *,
    named: bool = False,
) -> np.ndarray:
    """Which pictures show a training photo's background instead of the place that was asked for.

    Only pictures whose asked place is none of the training places count: in the others the
    training background would be right.

    Args:
        places: what the judge sees, length n. asks: n dicts, label -> word.
        trained: of :func:`training_places`. named: a plain backdrop, which may also be a place
            forgotten, is no leak.

    Returns:
        0.0 or 1.0 for each picture that counts.
    """
    guilty = trained - {PLAIN} if named else trained
    return np.array(
        [
            float(seen in guilty)
            for seen, asked in zip(places, asks, strict=True)
            if "place" in asked and asked["place"] not in trained
        ]
    )
