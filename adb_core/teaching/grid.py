"""The precomputed grid behind the regularizer's sliders: each point is one real training run.

``python -m adb_core.teaching.make_grid`` trains it; here it is only read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..recipes import Recipe
from ..system.paths import data_path

# Off, the recipe's, and ten thousand times that: hardly anything but the maps is trained then.
MUS, SIGMAS = (0.0, 2.0, 20_000.0), (0.0, 5.0, 50_000.0)


@dataclass(frozen=True)
class Point:
    """One trained setting: its picture, and what was measured, in words.

    Attributes:
        lambdas: (lambda_mu, lambda_sigma) of each stage.
    """

    lambdas: tuple[tuple[float, float], ...]
    png: bytes
    text: str


@dataclass(frozen=True)
class Grid:
    """All precomputed points of one concept and recipe."""

    concept: str
    recipe: str
    points: tuple[Point, ...]

    def find(self, recipe: Recipe) -> Point | None:
        """The point with this recipe's weights, or None; nothing else of the recipe is compared."""
        weights = lambdas(recipe)
        return next((p for p in self.points if p.lambdas == weights), None)

    @property
    def axes(self) -> str:
        """Which weights were computed, in words."""
        first = sorted({p.lambdas[0] for p in self.points})
        alone = " or ".join(f"{mu:g}/{sigma:g}" for mu, sigma in first)
        mus, sigmas = (
            " or ".join(f"{value:g}" for value in sorted({p.lambdas[-1][k] for p in self.points}))
            for k in (0, 1)
        )
        return (
            f"first stage {alone}; after it lambda_mu {mus}, lambda_sigma {sigmas}, "
            "the same in all stages"
        )


def lambdas(recipe: Recipe) -> tuple[tuple[float, float], ...]:
    """(lambda_mu, lambda_sigma) of each stage."""
    return tuple((s.lambda_mu, s.lambda_sigma) for s in recipe.stages)


def load_grid(folder: str | Path | None = None) -> Grid:
    """Read the bundled grid, or another.

    Raises:
        FileNotFoundError: there is none; names the command that makes it.
    """
    folder = data_path("grid") if folder is None else Path(folder)
    index = folder / "grid.json"
    if not index.exists():
        raise FileNotFoundError(
            f"there is no precomputed grid in {folder}: "
            "make it with python -m adb_core.teaching.make_grid"
        )
    stored = json.loads(index.read_text(encoding="utf-8"))
    points = tuple(
        Point(tuple(map(tuple, p["lambdas"])), (folder / p["image"]).read_bytes(), p["said"])
        for p in stored["points"]
    )
    return Grid(stored["concept"], stored["recipe"], points)


def variants(
    recipe: Recipe, mus: Sequence[float] = MUS, sigmas: Sequence[float] = SIGMAS
) -> list[Recipe]:
    """The recipe with every pair of weights in its stages from the second on; the first stays."""
    first, *later = recipe.stages
    return [
        replace(
            recipe,
            stages=(first, *(replace(s, lambda_mu=mu, lambda_sigma=sigma) for s in later)),
        )
        for mu, sigma in itertools.product(mus, sigmas)
    ]
