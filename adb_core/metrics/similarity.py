"""Alike or not: vectors by their angle, pictures by their pixels, two heaps by their order.

No torch. Axes: n pictures, m references, c channels of an embedding.
"""

from __future__ import annotations

import numpy as np


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=float)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def cosine_to_mean(vectors: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Cosine of each vector (n, c) to the mean direction of the references (m, c): (n,) in [-1, 1].

    The identity score: how much a picture's individual is the photos'. Averaging unit vectors
    first takes out what differs between the photos (as in face verification by templates).
    """
    return _unit(vectors) @ _unit(_unit(references).mean(0))


def mean_cosine(vectors: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Mean cosine of each vector (n, c) to every reference (m, c): (n,) in [-1, 1].

    On CLIP image embeddings this is CLIP-I: "image alignment" of Gal et al. 2022 (Textual
    Inversion, section 5), named CLIP-I by Ruiz et al. 2023 (DreamBooth, section 4.2).
    """
    return (_unit(vectors) @ _unit(references).T).mean(1)


def paired_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of a[i] and b[i], (n, c) each: (n,) in [-1, 1].

    On CLIP's image and text embeddings this is CLIP-T (Ruiz et al. 2023, section 4.2).
    """
    return (_unit(a) * _unit(b)).sum(-1)


def pixel_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference of uint8 pictures (n, h, w, 3): (n,) in [0, 1]."""
    return np.abs(a.astype(float) - b.astype(float)).reshape(len(a), -1).mean(1) / 255


def psnr(truth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of pictures (n, ...) on the scale 0 to 255: (n,) decibels."""
    error = (truth.astype(np.float64) - other.astype(np.float64)) ** 2
    return 10 * np.log10(255.0**2 / np.maximum(error.reshape(len(truth), -1).mean(1), 1e-10))


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Chance that a random positive scores above a random negative, in [0, 1]; ties count half."""
    positives, negatives = np.asarray(positives, float), np.sort(np.asarray(negatives, float))
    below = np.searchsorted(negatives, positives, "left")
    ties = np.searchsorted(negatives, positives, "right") - below
    return float((below + ties / 2).sum() / (len(positives) * len(negatives)))
