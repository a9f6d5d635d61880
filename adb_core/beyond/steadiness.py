"""What the frames of a walk keep from one to the next, and how much they flicker.

No number here knows what should move. A walk between two places has to change; what can be
compared is the same walk, with the same number of frames, drawn in two ways.

Axes: f frames, n photos, c channels of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..metrics.similarity import cosine_to_mean, paired_cosine, pixel_difference

Embed = Callable[[np.ndarray], np.ndarray]  # uint8 (n, h, w, 3) -> (n, c)


def flicker(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the pixels of neighbors, (f - 1,) in [0, 1].

    Twice as many frames on the same way have about half of it: say how many there were.

    Args:
        frames: uint8 (f, h, w, 3).

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(
            f"flicker is between neighbors: give two frames at least, not {len(frames)}"
        )
    return pixel_difference(frames[1:], frames[:-1])


@dataclass(frozen=True)
class Steadiness:
    """One number a frame, or one a pair of neighbors.

    Attributes:
        flicker: of the pixels, (f - 1,) in [0, 1].
        leaps: 1 - cosine of neighbors' embeddings, (f - 1,) in [0, 2]: what the judge takes for
            another individual, whatever the pixels say.
        to_first: cosine of each frame's embedding to the first one's, (f,).
        identity: cosine to the photos' mean, (f,); None without photos.
    """

    flicker: np.ndarray
    leaps: np.ndarray
    to_first: np.ndarray
    identity: np.ndarray | None = None

    @property
    def means(self) -> dict[str, float]:
        """The mean of each, by name."""
        kept = {"flicker": self.flicker, "leaps": self.leaps, "to_first": self.to_first[1:]}
        if self.identity is not None:
            kept["identity"] = self.identity
        return {name: float(values.mean()) for name, values in kept.items()}


def measure_steadiness(
    frames: np.ndarray, embed: Embed, photos: np.ndarray | None = None
) -> Steadiness:
    """Measure the frames of a walk.

    Args:
        frames: uint8 (f, h, w, 3). embed: vectors that tell individuals apart, such as
            ``adb.load_judge().identity``; for real pictures a CLIP, by
            ``lambda images: adb.metrics.embed_images(clip, images)``.
        photos: of the concept, uint8 (n, h, w, 3), such as ``concept.squares(side)``.

    Raises:
        ValueError: fewer than two frames.
    """
    changes = flicker(frames)
    vectors = embed(frames)  # (f, c)
    identity = None if photos is None else cosine_to_mean(vectors, embed(photos))
    to_first = paired_cosine(vectors, np.repeat(vectors[:1], len(vectors), 0))
    return Steadiness(changes, 1 - paired_cosine(vectors[1:], vectors[:-1]), to_first, identity)
