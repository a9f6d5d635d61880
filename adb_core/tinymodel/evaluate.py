"""Measure the tiny model: ``python -m adb_core.tinymodel.evaluate`` prints the table of its bars.

Real pictures are fresh renders that no training stage has drawn, half of them of
combinations that are held out of pretraining altogether; generated pictures are of held-out
combinations only. All seeds are fixed, so two runs on one machine agree.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..system.commands import InputError, run_command
from ..system.devices import pick_device
from ..system.files import atomic_write_json
from .card import write_model_card
from .measures.attributes import REAL_BARS, judge_rows, measure_generation
from .measures.distance import measure_distance
from .measures.identity import measure_identity, measure_near_misses
from .measures.pointing import measure_pointing, render_maps
from .measures.reconstruction import measure_concepts, measure_truth, measure_vae
from .measures.retrieval import measure_clip
from .measures.speed import measure_speed
from .pipeline import GUIDANCE, STEPS, Models, load_models
from .rows import Row, table
from .scenes import draw, fresh_scenes, held_out_scenes
from .sheets import generated_sheet, maps_sheet


@dataclass(frozen=True)
class Counts:
    """How many pictures each measurement uses."""

    renders: int = 1000
    pairs: int = 500
    individuals: int = 400
    generated: int = 500
    pointing: int = 200
    speed_runs: int = 5


FULL, QUICK = Counts(), Counts(100, 60, 60, 16, 16, 2)


def evaluate(
    data_dir: str | Path,
    *,
    device: str = "cpu",
    counts: Counts = FULL,
    seed: int = 0,
    guidance: float = GUIDANCE,
    out: str | Path | None = None,
) -> dict:
    """Measure everything; returns plain data for JSON: ``rows`` (see :class:`Row`), settings.

    Args:
        data_dir: holds tiny-sd, tiny-clip and judge.
        out: where two contact sheets go, or None.

    Raises:
        ValueError: a model folder is missing or damaged.
    """
    models = load_models(data_dir, device)
    rows = measure_renders(models, counts, seed)
    say(f"generating {counts.generated} images")
    asked = held_out_scenes(counts.generated, seed)
    more, made = measure_generation(models, asked, seed, guidance)
    more += measure_distance(models, asked, made.images, seed)
    say("reading attention maps")
    pointed = fresh_scenes(counts.pointing, seed + 2, place=1.0, accessory=0.75, relation=0.65)
    drawn, maps = render_maps(models, pointed, seed)
    rows += more + measure_pointing(pointed, drawn, maps) + measure_speed(models, counts.speed_runs)
    if out is not None:
        generated_sheet(Path(out) / "evaluation-generated.png", made, asked, count=64)
        maps_sheet(Path(out) / "evaluation-maps.png", pointed, drawn, maps)
    return {
        "rows": [{**asdict(row), "passed": row.passed} for row in rows],
        "guidance": guidance,
        "steps": STEPS,
        "sampler": "the folder's own (DPM-Solver++ with fresh noise)",
        "seed": seed,
        "device": device,
        "counts": asdict(counts),
    }


def measure_renders(models: Models, counts: Counts, seed: int) -> list[Row]:
    """What is measured on drawn pictures: the VAE, tiny-clip and the judge."""
    scenes = fresh_scenes(counts.renders, seed)
    say(f"drawing {counts.renders} renders")
    images = draw(scenes, seed)
    rows = measure_vae(models, images)
    pairs = fresh_scenes(counts.pairs, seed + 1, distinct=True)
    rows += measure_clip(models, pairs, draw(pairs, seed + 1))
    say("judging real renders")
    rows += judge_rows("judge", models.judge.read(images), scenes, REAL_BARS, asked_only=False)
    rows += measure_identity(models, counts.individuals, seed)
    rows += measure_near_misses(models, counts.individuals, seed)
    return rows + measure_concepts(models) + measure_truth(models)


def say(what: str) -> None:
    """Tell the person who waits."""
    print(f"  {what} ...", file=sys.stderr, flush=True)


def tune_guidance(
    models: Models, count: int = 100, seed: int = 77
) -> dict[float, dict[str, float]]:
    """Shares found per guidance scale, on combinations that are not held out."""
    scenes = held_out_scenes(count, seed, held_out=False)
    found = {}
    for guidance in (1.5, 2.0, 3.0, 4.0, 5.0):
        rows, _ = measure_generation(models, scenes, seed, guidance)
        found[guidance] = {row.what: row.value for row in rows}
    return found


def main(
    data: Annotated[
        Path, typer.Option(help="Folder that holds tiny-sd, tiny-clip and judge.")
    ] = Path("data"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Few pictures: a look, not a measurement.")
    ] = False,
    json: Annotated[Path, typer.Option(help="Where the numbers go; sheets go beside it.")] = Path(
        "out/evaluation.json"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of scenes, noise and samples.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    guidance: Annotated[float, typer.Option(help="Guidance scale of samples.")] = GUIDANCE,
    tune: Annotated[
        bool, typer.Option("--tune-guidance", help="Only compare guidance scales.")
    ] = False,
    card: Annotated[bool, typer.Option("--card", help="Also write tiny-sd/README.md.")] = False,
) -> None:
    """Measure the tiny model; the exit code is 0 if every bar is passed, else 1."""
    try:
        where = str(pick_device(device))
    except ValueError as error:
        raise InputError(f"--device: {error}") from error
    if tune:
        for scale, found in tune_guidance(load_models(data, where)).items():
            shares = ", ".join(f"{k} {100 * v:.0f} %" for k, v in found.items())
            typer.echo(f"guidance {scale:g}: {shares}")
        return
    counts = QUICK if quick else FULL
    results = evaluate(
        data, device=where, counts=counts, seed=seed, guidance=guidance, out=json.parent
    )
    atomic_write_json(json, results)
    if card:
        write_model_card(data, results)
    typer.echo(table(results))
    if any(row["passed"] is False for row in results["rows"]):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_command(main, "evaluate")
