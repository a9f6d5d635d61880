"""The picture that README opens with: ``python -m adb_core.teaching.make_banner``.

One concept's photos, and below them the same prompts from the same noise: the base model, then
after each of the three stages, as a PNG that moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..base import Base, load_base
from ..concept import Concept
from ..generation import generate
from ..learner import Learner
from ..pictures import film, opened
from ..plots import image_grid, to_png
from ..provenance.record import of_model, stamped
from ..recipes import recipe as named
from ..result import Result
from ..system.files import atomic_write_bytes
from ..training import train_stage

PROMPTS = (
    "a photo of a {}",
    "a photo of a {} wearing a crown on the beach",
    "a painting of a {} holding a balloon in the forest",
    "a photo of a {} next to a pumpkin in the snow",
    "a photo of a {} holding a cake under the sea under a rainbow",
)
SECONDS = 1.6  # each frame; the last one stays three times as long


def stages_of(base: Base, concept: Concept, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """What is shown -> pictures of :data:`PROMPTS`, by the base model and after every stage."""
    recipe = named("attndreambooth")
    learner = Learner(base, concept, recipe, seed=0)
    plain = [prompt.replace("{}", concept.category) for prompt in PROMPTS]
    rows = {f"base model: {concept.category}": _drawn(base, plain, seeds)}
    for number, stage in enumerate(recipe.stages, 1):
        for _ in train_stage(learner, stage):
            pass
        rows[f"stage {number}: {stage.name}"] = _drawn(Result(learner), PROMPTS, seeds)
    return rows


def _drawn(model, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """One picture a prompt, each from its own seed."""
    one_by_one = [generate(model, p, [s]).images for p, s in zip(prompts, seeds, strict=True)]
    return np.concatenate(one_by_one)


def make_banner(base: Base, concept: Concept, seeds: Sequence[int]) -> bytes:
    """The animated PNG."""
    photos = list(concept.squares(base.side)[: len(PROMPTS)])
    labels = [prompt.replace("{}", f"[V] {concept.category}") for prompt in PROMPTS]
    alt = f"Photos of {concept.name.title()}, and below them five prompts"
    figures = [
        image_grid(
            [photos, list(images)],
            row_labels=[f"photos of {concept.name.title()}", name],
            column_labels=labels,
            alt=f"{alt}, {name}.",
        )
        for name, images in stages_of(base, concept, seeds).items()
    ]
    frames = [opened(to_png(figure)) for figure in (*figures, *figures[-1:] * 2)]
    about = f"{alt}, drawn by the base model and after each of three stages."
    data = film(frames, round(1000 * SECONDS), about)
    return stamped(data, of_model(base, list(PROMPTS), list(seeds)))


def main(
    out: Annotated[Path, typer.Option(help="the file")] = Path("data/result.png"),
    concept: Annotated[str, typer.Option(help="a bundled concept")] = "pico",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
) -> None:
    """Train the three stages and draw README's first picture."""
    seeds = range(len(PROMPTS))
    data = make_banner(load_base("tiny", device=device), Concept.bundled(concept), seeds)
    atomic_write_bytes(out, data)
    typer.echo(f"{out}: {len(data) / 1e3:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
