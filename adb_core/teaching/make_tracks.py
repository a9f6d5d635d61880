"""Train what the frontier explorer shows: ``python -m adb_core.teaching.make_tracks``.

Each training runs half as long again as its preset, and is looked at on its way: a few prompts are
drawn with the map of [V], and all prompts of a small study are scored. A stopped run begins with
the first training that is not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from tqdm.auto import tqdm

from ..base import Base, load_base
from ..concept import Concept
from ..generation import generate
from ..judges import load_judge
from ..personalization import Run
from ..pictures import png
from ..provenance.record import stamped
from ..recipes import recipe as named
from ..study.bench import Bench, weights_of
from ..study.plan import Plan, prompt_entries
from ..system.files import atomic_write_bytes, atomic_write_json
from .tracks import CELLS, Tracks, load_tracks, pasted

CONCEPTS = ("pico",)
RECIPES = ("textual_inversion", "dreambooth", "attndreambooth")
SHOWN = (0, 6, 10)  # of the scored prompts: nothing, two things and four things besides [V]
PLAN = Plan(
    recipes=RECIPES, concepts=CONCEPTS, seeds=(0,), prompts=prompt_entries(2), moments=6, truth=4
)


def bench(base: Base, plan: Plan = PLAN) -> Bench:
    """Who scores the pictures; CLIP is not asked."""
    judge = load_judge(str(base.device))
    known = {"base model": base.fingerprint(), "judge": weights_of(judge)}
    return Bench(base, plan, judge, judge.config.labels, known=known)


class Making:
    """One training, looked at on its way.

    Args:
        shown: numbers of the scored prompts that are drawn with their maps.
    """

    def __init__(self, bench: Bench, concept: Concept, recipe: str, shown: Sequence[int]):
        self.bench, self.concept, self.recipe = bench, concept, recipe
        self.templates = [bench.plan.templates[k] for k in shown]
        self.views: list[dict[str, Any]] = []
        self.images: list[np.ndarray] = []
        self.maps: list[np.ndarray] = []

    def look(self, model: Any, step: int, stage: str) -> None:
        """Keep what a model draws, where it looks, and its scores."""
        word = self.concept.placeholder if model.words else self.concept.category
        texts = self.bench.plainly(model, self.concept, self.templates)
        plan = self.bench.plan
        how = {"steps": plan.steps, "guidance": plan.guidance, "resolution": CELLS}
        drawn = generate(model, texts, [0], maps=True, words=[word], **how)
        self.images.append(drawn.images)
        self.maps.append(np.stack([drawn.word_maps(k)[word] for k in range(len(texts))]))
        found = self.bench.moment(model, self.concept, 0)["pictures"]
        means = {name: float(np.mean(found[score])) for name, score in _SCORES.items()}
        self.views.append(
            {"step": step, "stage": stage} | {k: round(v, 4) for k, v in means.items()}
        )
        self.about = drawn.about

    def run(self) -> None:
        """Train, and look at every moment of the plan."""
        plan = self.bench.plan
        self.look(self.bench.base, 0, "base model")
        marks = set(plan.marks(self.recipe))
        training = Run(self.bench.base, self.concept, plan.long(self.recipe), watch=False)
        for step, record in enumerate(training, 1):
            if step in marks:
                self.look(training.result, step, record.stage)

    def write(self, folder: Path) -> None:
        """Two sheets, one row a moment, and the numbers; the numbers last."""
        name = f"{self.concept.name}-{self.recipe}"
        maps = np.stack(self.maps)  # (moments, prompts, y, x)
        top = float(maps.max())
        greys = (maps / top * 255).round().astype(np.uint8)[..., None].repeat(3, -1)
        about = replace(self.about, composite=True)
        for suffix, pictures in (("", np.stack(self.images)), ("-maps", greys)):
            sheet = stamped(png(few_colors(pasted(pictures)), optimize=True), about)
            atomic_write_bytes(folder / f"{name}{suffix}.png", sheet)
        facts = {"concept": self.concept.name, "recipe": self.recipe, "top": round(top, 5)}
        facts |= {"preset": named(self.recipe).steps, "views": self.views}
        atomic_write_json(folder / f"{name}.json", facts)


def few_colors(sheet: np.ndarray) -> Image.Image:
    """A sheet in 256 colors of its own, a third of the bytes; greys stay as they are."""
    return Image.fromarray(sheet).quantize(256, dither=Image.Dither.NONE)


_SCORES = {"text": "text", "identity": "identity_share", "joint": "joint"}


def make_tracks(folder: Path, bench: Bench, progress: bool = True) -> Tracks:
    """Make the trainings that are not in ``folder`` yet; then write its index."""
    plan = bench.plan
    pairs = [(concept, recipe) for concept in plan.concepts for recipe in plan.recipes]
    for concept, recipe in tqdm(pairs, desc="trainings", disable=not progress):
        if not (folder / f"{concept}-{recipe}.json").exists():
            making = Making(bench, Concept.bundled(concept), recipe, SHOWN)
            making.run()
            making.write(folder)
    write_index(folder, bench)
    return load_tracks(folder)


def write_index(folder: Path, bench: Bench) -> None:
    """What all trainings have in common, and their names."""
    plan = bench.plan
    index = {
        "known": bench.known,
        "shares": [round(k * plan.longer / plan.moments, 4) for k in range(plan.moments + 1)],
        "prompts": [plan.templates[k] for k in SHOWN],
        "scored": len(plan.prompts),
        "tracks": [f"{concept}-{recipe}" for concept in plan.concepts for recipe in plan.recipes],
    }
    atomic_write_json(folder / "tracks.json", index)


def main(
    out: Annotated[
        Path, typer.Option(help="where they are written; delete it to train all again")
    ] = Path("data/tracks"),
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
) -> None:
    """Train what the frontier explorer shows."""
    out.mkdir(parents=True, exist_ok=True)
    tracks = make_tracks(out, bench(load_base("tiny", device=device)))
    for (concept, recipe), track in tracks.by_name.items():
        end = next(view for view in track.views if view.step == track.preset)
        typer.echo(f"{concept}, {recipe}, at its preset's end: {end.scores}")


if __name__ == "__main__":
    typer.run(main)
