"""Scores beside the truth: shares of the ceiling, the joint score, and what training has spoiled.

Everything here is a function of :class:`Compared`: pictures, the true pictures of the same concept
for the same prompts (drawn by the world, through the model's VAE), and, where a score asks for
them, the same model's pictures of the plain category and of things it was not trained on.

Axes: n pictures, p prompts, t true pictures of a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..concept import Concept
from .attributes import found_shares
from .embeddings import embed_images
from .evidence import LeftOut, Pictures
from .registry import measure
from .similarity import cosine_to_mean, paired_cosine, pixel_difference

IDENTITY_BAR = 0.75  # of the ceiling: what a picture's identity must reach to be the concept
COPY_SIDE = 16  # pixels of the thumbnails in which copies are looked for


def complexity(asks: Mapping[str, str]) -> int:
    """How many things a prompt asks for beyond its subject, 0 to 5; the style is none of them."""
    return len(asks.keys() - {"style"})


def identity_shares(identities: np.ndarray, ceilings: np.ndarray) -> np.ndarray:
    """Identities (n,) as shares of their ceilings (n,); a ceiling of 0 or less gives NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ceilings > 0, identities / ceilings, np.nan)


def joint_hits(
    shares: np.ndarray, complete: np.ndarray, same: np.ndarray, bar: float = IDENTITY_BAR
) -> np.ndarray:
    """Whether a picture is the concept AND shows all that was asked, 0 or 1, (n,).

    It counts 1 only if its identity is at least ``bar`` of the identity that the true pictures of
    this concept for this prompt reach after the VAE, and the judge finds every asked attribute
    (the style among them), and the judge sees the concept's category. It is a product of hits: a
    model that ignores the concept fails the first on every picture, one that ignores the prompt
    fails the second, and neither failure can be paid for by the other. Identity above the bar
    earns nothing, so that copying a photo is worth no more than drawing the concept.

    Args:
        shares: of :func:`identity_shares`. complete: 0 or 1, whether all that was asked is there.
        same: 0 or 1, whether the category is the concept's.
    """
    return (np.nan_to_num(shares) >= bar) * (complete == 1) * (same == 1) * 1.0


@dataclass
class Truth:
    """The true pictures of a concept for some prompts; computed once, they serve every model.

    Attributes:
        images: uint8 (p, t, h, w, 3), as the model's VAE gives them.
        asks: what each prompt asks for, (p,).
    """

    images: np.ndarray
    asks: Sequence[Mapping[str, str]]
    concept: Concept
    judge: Any

    @cached_property
    def flat(self) -> np.ndarray:
        """All of them, uint8 (p * t, h, w, 3)."""
        return self.images.reshape(-1, *self.images.shape[2:])

    @cached_property
    def photos(self) -> np.ndarray:
        """The concept's photos at the pictures' size."""
        return self.concept.squares(self.images.shape[2])

    @cached_property
    def identities(self) -> np.ndarray:
        """Their mean identity, (p,): the ceiling of each prompt."""
        found = self.judge.identity(self.flat)
        own = cosine_to_mean(found, self.judge.identity(self.photos))
        return own.reshape(self.images.shape[:2]).mean(1)

    @cached_property
    def likeness(self) -> np.ndarray:
        """How much they resemble the photo that they resemble most, on average, (p,)."""
        most = likeness(self.flat, self.photos).max(1)
        return most.reshape(self.images.shape[:2]).mean(1)


@dataclass
class Compared:
    """Pictures beside the truth.

    Attributes:
        pictures: what a model drew, prompt by prompt, seed by seed.
        truth: of these prompts. prompts: which of them each picture is of, (n,) integers.
        plain: the same model's pictures of the plain category, with the prompts and seeds of the
            pictures ``paired``, (m,) integers.
        others: (before, after): pictures of unrelated prompts by the base model and by this one.
        map_distances: (photos * timesteps,) total variation between the maps of [V] and category.
    """

    pictures: Pictures
    truth: Truth
    prompts: np.ndarray
    plain: Pictures | None = None
    paired: np.ndarray | None = None
    others: tuple[np.ndarray, np.ndarray] | None = None
    map_distances: np.ndarray | None = None

    @cached_property
    def identities(self) -> np.ndarray:
        """How much the individual is the photos', (n,) in [-1, 1]."""
        return cosine_to_mean(*self.pictures.identities)

    @cached_property
    def shares(self) -> np.ndarray:
        """The same as shares of the ceilings, (n,)."""
        return identity_shares(self.identities, self.truth.identities[self.prompts])


def identity_share(compared: Compared) -> np.ndarray:
    """Identity as a share of its ceiling; 1 is as good as the truth."""
    return compared.shares


def complete(compared: Compared) -> np.ndarray:
    """0 or 1: whether the judge finds all that was asked; 1 where nothing was."""
    pictures = compared.pictures
    shares = found_shares(pictures.read, pictures.asks)
    return np.where(np.isnan(shares), 1.0, (shares == 1.0) * 1.0)


def joint(compared: Compared) -> np.ndarray:
    """0 or 1: the concept and all that was asked; see :func:`joint_hits`."""
    pictures = compared.pictures
    same = np.array([float(w == pictures.concept.category) for w in pictures.read["category"]])
    return joint_hits(compared.shares, complete(compared), same)


def word_dependence(compared: Compared) -> np.ndarray:
    """Identity with [V] less that of the plain category: same model, prompts and seeds, [-2, 2].

    0 where the word carries nothing: the concept took its whole category's place, or is not there.
    """
    if compared.plain is None or compared.paired is None:
        raise LeftOut("no pictures of the plain category were drawn")
    return compared.identities[compared.paired] - cosine_to_mean(*compared.plain.identities)


def pose_leakage(compared: Compared) -> np.ndarray:
    """How much more a picture resembles a training photo than its true picture does, [-2, 2].

    Poses, and whole photos, leak into pictures that should show something else: both are looked
    for as the largest correlation of thumbnails with a photo's. The truth, in poses of its own,
    says how much of that is the subject itself; 0 is no leakage.
    """
    drawn = likeness(compared.pictures.images, compared.truth.photos).max(1)  # (n,)
    return drawn - compared.truth.likeness[compared.prompts]


def likeness(images: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Correlations of thumbnails, (n, m) in [-1, 1], of uint8 (n, h, w, 3) and (m, h, w, 3)."""
    a, b = (_thumbnails(pictures) for pictures in (images, photos))
    return a @ b.T


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Unit vectors (n, c) of pictures reduced to 16 x 16 by means, each less its own mean."""
    n, h, w, channels = images.shape
    rows, columns = h // COPY_SIDE, w // COPY_SIDE
    if not rows or not columns:
        raise LeftOut(f"pictures of {h}x{w} pixels are too small to look for copies")
    cut = images[:, : rows * COPY_SIDE, : columns * COPY_SIDE].astype(float)
    cells = cut.reshape(n, COPY_SIDE, rows, COPY_SIDE, columns, channels).mean((2, 4))
    flat = cells.reshape(n, -1)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


def diversity(compared: Compared) -> np.ndarray:
    """How different two pictures of one prompt are: 1 - cosine of CLIP's embeddings, (pairs,)."""
    return spread(compared.pictures.embedded, compared.prompts)


def spread(vectors: np.ndarray, groups: Sequence[int] | np.ndarray) -> np.ndarray:
    """1 - cosine of every pair of vectors (n, c) within a group.

    Raises:
        LeftOut: no group has two.
    """
    labels = np.asarray(groups)
    a, b = np.triu_indices(len(labels), 1)
    pairs = labels[a] == labels[b]
    if not pairs.any():
        raise LeftOut("diversity needs two pictures of one prompt")
    return 1 - paired_cosine(vectors[a[pairs]], vectors[b[pairs]])


def drift_others(compared: Compared) -> dict[str, np.ndarray]:
    """How far pictures of unrelated prompts moved: pixels, [0, 1], and 1 - cosine in CLIP."""
    if compared.others is None:
        raise LeftOut("no pictures of unrelated prompts were drawn")
    before, after = compared.others
    values = {"drift_others": pixel_difference(before, after)}
    clip = compared.pictures.clip
    if clip is not None:
        pair = [embed_images(clip, images) for images in (before, after)]
        values["drift_others_clip"] = 1 - paired_cosine(*pair)
    return values


def map_distance(compared: Compared) -> np.ndarray:
    """Total variation between [V]'s map and the category's on the photos, [0, 1]; 0 is the same."""
    if compared.map_distances is None:
        raise LeftOut("no maps of [V] and its category were read")
    return compared.map_distances


TRUTH_METRICS: dict[str, Callable[[Compared], np.ndarray | Mapping[str, np.ndarray]]] = {
    "identity_share": identity_share,
    "complete": complete,
    "joint": joint,
    "word_dependence": word_dependence,
    "pose_leakage": pose_leakage,
    "diversity": diversity,
    "drift_others": drift_others,
    "map_distance": map_distance,
}


def score_against_truth(compared: Compared) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every score of :data:`TRUTH_METRICS`: values by name, and name -> why one was left out."""
    return measure(TRUTH_METRICS, compared)


def by_complexity(
    values: Sequence[float], asks: Sequence[Mapping[str, str]]
) -> dict[int, list[float]]:
    """The values of pictures, heaped by how much their prompts ask for; no number, no value."""
    heaps: dict[int, list[float]] = {}
    for value, asked in zip(values, asks, strict=True):
        if value is not None and np.isfinite(value):
            heaps.setdefault(complexity(asked), []).append(float(value))
    return dict(sorted(heaps.items()))
