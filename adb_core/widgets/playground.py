"""The precomputed grid behind the regularizer's sliders: ``python -m adb_core.widgets.playground``.

Each point is one real training run with its own lambda_mu and lambda_sigma in the second and third
stages. A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.files import atomic_write_bytes, atomic_write_json
from ..system.paths import data_path

if TYPE_CHECKING:
    from ..base import Base
    from ..concept import Concept
    from ..recipes import Recipe

CONCEPT, RECIPE = "pico", "attndreambooth_fast"
MUS, SIGMAS = (0.0, 2.0, 20.0), (0.0, 5.0, 100.0)
PROMPTS = (
    "a photo of a {}",
    "a photo of a {} wearing a hat on the beach",
    "a sketch of a {} with a balloon next to a cake in the snow",
)
SEED, STEPS, GUIDANCE = 0, 20, 3.0


@dataclass(frozen=True)
class Point:
    """One trained setting: the picture that the playground shows, and what was measured, in words."""

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
        """The point with this recipe's weights, or None; other changes to the recipe are not looked at."""
        wanted = lambdas(recipe)
        return next((p for p in self.points if p.lambdas == wanted), None)

    @property
    def axes(self) -> str:
        """Which weights were computed, in words."""
        first = sorted({p.lambdas[0] for p in self.points})
        said = [
            " or ".join(f"{value:g}" for value in sorted({p.lambdas[-1][k] for p in self.points}))
            for k in (0, 1)
        ]
        alone = " or ".join(f"{mu:g}/{sigma:g}" for mu, sigma in first)
        return f"first stage {alone}; after it lambda_mu {said[0]}, lambda_sigma {said[1]}, the same in all stages"


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
            f"there is no precomputed grid in {folder}: make it with python -m adb_core.widgets.playground"
        )
    said = json.loads(index.read_text())
    points = tuple(
        Point(tuple(map(tuple, p["lambdas"])), (folder / p["image"]).read_bytes(), p["said"])
        for p in said["points"]
    )
    return Grid(said["concept"], said["recipe"], points)


def variants(
    recipe: Recipe, mus: Sequence[float] = MUS, sigmas: Sequence[float] = SIGMAS
) -> list[Recipe]:
    """The recipe with every pair of weights in its stages from the second on; the first stays."""

    def weighted(mu: float, sigma: float) -> Recipe:
        stages = (
            recipe.stages[0],
            *(replace(s, lambda_mu=mu, lambda_sigma=sigma) for s in recipe.stages[1:]),
        )
        return replace(recipe, stages=stages)

    return [weighted(mu, sigma) for mu, sigma in itertools.product(mus, sigmas)]


def make_point(base: Base, concept: Concept, recipe: Recipe, tools: dict) -> tuple[bytes, dict]:
    """Train one variant; returns its picture and its numbers."""
    import numpy as np

    from ..generation import generate
    from ..metrics import evaluate_result
    from ..personalization import personalize
    from . import enlarge, overlay, png, side_by_side

    result = personalize(base, concept, recipe, seed=SEED)
    made = generate(
        result,
        PROMPTS,
        [SEED],
        steps=STEPS,
        guidance=GUIDANCE,
        maps=True,
        words=[concept.placeholder, concept.category],
    )
    top = max(float(made.word_maps(k)[concept.placeholder].max()) for k in range(len(made.images)))
    shown = [enlarge(image, 200) for image in made.images]
    heats = [
        overlay(image, made.word_maps(k)[concept.placeholder], top, 200)
        for k, image in enumerate(made.images)
    ]
    picture = np.concatenate(
        [
            side_by_side(*shown),
            np.full((8, side_by_side(*shown).shape[1], 3), 255, np.uint8),
            side_by_side(*heats),
        ]
    )
    prompts = [{"prompt": p, "asks": a} for p, a in zip(PROMPTS, ASKS)]
    found = evaluate_result(
        result,
        prompts,
        [SEED],
        concept=concept,
        generation=None,
        steps=STEPS,
        guidance=GUIDANCE,
        **tools,
    )
    last = result.history[-10:]
    ratio = float(np.mean([np.mean(r.v_mean) / np.mean(r.category_mean) for r in last]))
    numbers = {
        "identity": found["scores"]["identity"]["mean"],
        "text": found["scores"]["text"]["mean"],
        "mean_ratio": ratio,
    }
    return png(picture), numbers


ASKS: tuple[dict[str, str], ...] = (
    {"style": "photo"},
    {"style": "photo", "accessory": "hat", "place": "beach"},
    {
        "style": "sketch",
        "accessory": "balloon",
        "relation": "next to",
        "object": "cake",
        "place": "snow",
    },
)


def make_grid(folder: Path, work: Path, base: Base, progress: bool = True) -> Grid:
    """Train all points, keeping those that are in ``work``; then write them to ``folder``."""
    from tqdm.auto import tqdm

    from ..judges import load_clip, load_judge
    from ..concept import Concept
    from ..recipes import recipe as named

    concept, plan = Concept.bundled(CONCEPT), named(RECIPE)
    tools = {"judge": load_judge(str(base.device)), "clip": load_clip(device=str(base.device))}
    points = []
    for variant in tqdm(variants(plan), desc="grid", disable=not progress):
        name = "-".join(f"{mu:g}_{sigma:g}" for mu, sigma in lambdas(variant))
        path, facts = work / f"{name}.png", work / f"{name}.json"
        if not (path.exists() and facts.exists()):
            picture, numbers = make_point(base, concept, variant, tools)
            atomic_write_bytes(path, picture)
            atomic_write_json(facts, numbers)
        numbers = json.loads(facts.read_text())
        atomic_write_bytes(folder / path.name, path.read_bytes())
        said = (
            f"identity {numbers['identity']:.2f}, text {numbers['text']:.2f}, "
            f"attention of [V] / category {numbers['mean_ratio']:.2f}"
        )
        points.append({"lambdas": lambdas(variant), "image": path.name, "said": said, **numbers})
    atomic_write_json(
        folder / "grid.json",
        {"concept": CONCEPT, "recipe": RECIPE, "seed": SEED, "prompts": PROMPTS, "points": points},
    )
    return load_grid(folder)


def main() -> None:
    from ..base import load_base

    parser = argparse.ArgumentParser(description="Train the grid behind the regularizer's sliders.")
    parser.add_argument("--out", type=Path, default=Path("data/grid"))
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("out/grid"),
        help="where finished points wait; delete it to train all again",
    )
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    for folder in (args.out, args.work):
        folder.mkdir(parents=True, exist_ok=True)
    grid = make_grid(args.out, args.work, load_base("tiny", device=args.device))
    for point in grid.points:
        print(point.lambdas, point.text)


if __name__ == "__main__":
    main()
