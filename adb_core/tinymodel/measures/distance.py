"""How far the generated pictures are from drawn ones as a whole: Frechet distance (n, c)."""

from __future__ import annotations

import numpy as np

from ...toyworld.scene import Scene
from ..pipeline import Models
from ..rows import Row
from ..scenes import draw
from ..vae import round_trips


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the covariances.

    Two normal distributions' squared Wasserstein distance (Dowson and Landau 1982), which the FID
    takes of Inception's features (Heusel et al. 2017).

    Args:
        a, b: float (n, c) and (m, c), a feature vector for each picture.

    Raises:
        ValueError: fewer than two pictures on a side, or other features on the other.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"give features (n, c) and (m, c) of two pictures or more, got {a.shape} and {b.shape}"
        )
    apart = a.mean(0) - b.mean(0)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2).
    root = np.linalg.svd(_root(cov_a) @ _root(cov_b), compute_uv=False).sum()
    return float(apart @ apart + np.trace(cov_a) + np.trace(cov_b) - 2 * root)


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance (c, c)."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def measure_distance(
    models: Models, scenes: list[Scene], images: np.ndarray, seed: int
) -> list[Row]:
    """Generated ``images`` of ``scenes`` against renders of these scenes, by the judge's features.

    A distance of finite samples is never zero, and has no unit. It stands beside that of other
    renders of these scenes after the VAE: what a perfect model with this VAE would have.
    """
    features = models.judge.features
    real = features(draw(scenes, seed + 3))
    through = features(round_trips(models.pipe.vae, draw(scenes, seed + 4)))
    made, floor = frechet(features(images), real), frechet(through, real)
    group, n = "generated, held-out combinations", len(images)
    return [
        Row(group, "distance to renders (Frechet, judge)", made, None, "number", n),
        Row(group, "the same of renders after the VAE", floor, None, "number", n),
        Row(group, "the first over the second", made / floor, None, "number", n),
    ]
