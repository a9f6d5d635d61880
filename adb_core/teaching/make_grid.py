"""Train the grid behind the regularizer's sliders: ``python -m adb_core.teaching.make_grid``.

Each point is one training run with its own lambda_mu and lambda_sigma in the second and third
stages. A stopped run goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm.auto import tqdm

from ..base import Base, load_base
from ..concept import Concept
from ..generation import Generation, generate
from ..judges import load_clip, load_judge
from ..metrics.evaluate import evaluate_result
from ..personalization import personalize
from ..pictures import enlarge, overlay, png, side_by_side, stacked
from ..provenance.record import stamped
from ..recipes import Recipe, recipe as named
from ..system.files import atomic_write_bytes, atomic_write_json
from .grid import Grid, lambdas, load_grid, variants

CONCEPT, RECIPE = "pico", "attndreambooth_fast"
PROMPTS = (
    {"prompt": "a photo of a {}", "asks": {"style": "photo"}},
    {
        "prompt": "a photo of a {} wearing a hat on the beach",
        "asks": {"style": "photo", "accessory": "hat", "place": "beach"},
    },
    {
        "prompt": "a sketch of a {} with a balloon next to a cake in the snow",
        "asks": {
            "style": "sketch",
            "accessory": "balloon",
            "relation": "next to",
            "object": "cake",
            "place": "snow",
        },
    },
)
SEED, SAMPLING = 0, {"steps": 20, "guidance": 3.0}
SIDE = 200  # pixels of one picture of a point


def make_point(base: Base, concept: Concept, recipe: Recipe, tools: dict) -> tuple[bytes, dict]:
    """Train one variant; returns its picture and its numbers."""
    result = personalize(base, concept, recipe, seed=SEED)
    words = [concept.placeholder, concept.category]
    texts = [p["prompt"] for p in PROMPTS]
    drawn = generate(result, texts, [SEED], maps=True, words=words, **SAMPLING)
    scores = evaluate_result(result, PROMPTS, [SEED], **SAMPLING, **tools)["scores"]
    last = result.history[-10:]
    numbers = {
        "identity": scores["identity"]["mean"],
        "text": scores["text"]["mean"],
        "mean_ratio": float(np.mean([np.mean(r.v_mean) / np.mean(r.category_mean) for r in last])),
    }
    return point_picture(drawn, concept.placeholder), numbers


def point_picture(drawn: Generation, word: str) -> bytes:
    """The pictures of a point, and below them where ``word`` looked, on one scale."""
    heats = [drawn.word_maps(k)[word] for k in range(len(drawn.images))]
    top = max(float(heat.max()) for heat in heats)
    plain = side_by_side(*(enlarge(image, SIDE) for image in drawn.images))
    maps = (overlay(i, heat, top, SIDE) for i, heat in zip(drawn.images, heats, strict=True))
    data = png(stacked(plain, side_by_side(*maps)), level=1)
    return stamped(data, replace(drawn.about, composite=True))


def make_grid(folder: Path, work: Path, base: Base, progress: bool = True) -> Grid:
    """Train all points, keeping those that are in ``work``; then write them to ``folder``."""
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
        numbers = json.loads(facts.read_text(encoding="utf-8"))
        atomic_write_bytes(folder / path.name, path.read_bytes())
        summary = (
            f"identity {numbers['identity']:.2f}, text {numbers['text']:.2f}, "
            f"attention of [V] / category {numbers['mean_ratio']:.2f}"
        )
        points.append({"lambdas": lambdas(variant), "image": path.name, "said": summary, **numbers})
    texts = [p["prompt"] for p in PROMPTS]
    index = {"concept": CONCEPT, "recipe": RECIPE, "seed": SEED, "prompts": texts}
    atomic_write_json(folder / "grid.json", index | {"points": points})
    return load_grid(folder)


def main(
    out: Annotated[Path, typer.Option(help="where the grid is written")] = Path("data/grid"),
    work: Annotated[
        Path, typer.Option(help="where finished points wait; delete it to train all again")
    ] = Path("out/grid"),
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
) -> None:
    """Train the grid behind the regularizer's sliders."""
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    for point in make_grid(out, work, load_base("tiny", device=device)).points:
        typer.echo(f"{point.lambdas} {point.text}")


if __name__ == "__main__":
    typer.run(main)
