"""The bundled concepts: individuals that pretraining never draws, photographed five times each.

``python -m adb_core.toyworld.concepts`` writes ``data/concepts`` again, byte for byte.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..pictures import png
from ..system.commands import run_command
from ..system.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from ..system.fingerprints import fingerprint
from .portraits import PORTRAITS, Portrait
from .render import render
from .sampling import sample_pose
from .scene import Scene

LICENSE = "Apache-2.0"


def statements(category: str) -> dict[str, str]:
    """Who is shown, who gave the pictures, their licence, and whose consent it took."""
    return {
        "provenance": "drawn by adb_core.toyworld.concepts",
        "shows": f"a drawn {category}; no person",
        "given_by": "nobody: a program drew them",
        "license": LICENSE,
        "consent": "not needed: no person is shown",
    }


def photos(portrait: Portrait) -> list[tuple[Scene, int]]:
    """The five scenes of a portrait and their render seeds."""
    rng = np.random.default_rng([portrait.instance.layout, 0xC0])
    return [
        (
            Scene(portrait.category, portrait.instance, place=place, pose=sample_pose(rng)),
            portrait.instance.layout * 100 + k,
        )
        for k, place in enumerate(portrait.places)
    ]


def _write_one(folder: Path, portrait: Portrait) -> dict[str, str]:
    """Write one concept; return file name -> sha256."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    sums, entries = {}, []
    for k, (scene, seed) in enumerate(photos(portrait), 1):
        drawn = render(scene, seed)
        for name, data in (
            (f"{k:02d}.png", png(drawn.image, optimize=True)),
            (
                f"masks/{k:02d}.png",
                png(drawn.masks["subject"].astype(np.uint8) * 255, optimize=True),
            ),
        ):
            atomic_write_bytes(folder / name, data)
            sums[f"{portrait.name}/{name}"] = fingerprint([data])
        entries.append(
            {
                "image": f"{k:02d}.png",
                "mask": f"masks/{k:02d}.png",
                "place": scene.place,
                "render_seed": seed,
            }
        )
    atomic_write_json(
        folder / "concept.json",
        {
            "name": portrait.name,
            "placeholder": f"<{portrait.name}>",
            "category": portrait.category,
            "looks": portrait.looks,
            "split": portrait.split,
            "instance": asdict(portrait.instance),
            "photos": entries,
            **statements(portrait.category),
        },
    )
    sums[f"{portrait.name}/concept.json"] = fingerprint([(folder / "concept.json").read_bytes()])
    return sums


def write_concepts(folder: Path) -> None:
    """Write every bundled concept and ``manifest.json`` (the split and a checksum of each file)."""
    sums: dict[str, str] = {}
    for portrait in PORTRAITS:
        sums |= _write_one(folder / portrait.name, portrait)
    splits = {
        half: [p.name for p in PORTRAITS if p.split == half] for half in ("tuning", "held_out")
    }
    atomic_write_json(
        folder / "manifest.json",
        {**splits, "license": LICENSE, "sha256": dict(sorted(sums.items()))},
    )
    lines = [
        "# Bundled concepts",
        "",
        "Individuals of the toy world that the tiny model never saw in pretraining. Recipes are "
        "tuned on the",
        "tuning half only; the held-out half is for reporting. Written by "
        "`python -m adb_core.toyworld.concepts`;",
        f"licence {LICENSE}.",
        "",
        "| name | category | half | looks |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {p.name} | {p.category} | {p.split.replace('_', '-')} | {p.looks} |" for p in PORTRAITS
    ]
    atomic_write_text(folder / "README.md", "\n".join(lines) + "\n")


def restate(folder: Path) -> list[str]:
    """Write the statements of concepts that are there again; their pictures stay as they are.

    Returns:
        The concepts' names.

    Raises:
        FileNotFoundError: there are no concepts.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    names = manifest["tuning"] + manifest["held_out"]
    for name in names:
        path = folder / name / "concept.json"
        info = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: value for key, value in info.items() if key not in statements("")}
        atomic_write_json(path, kept | statements(info["category"]))
        manifest["sha256"][f"{name}/concept.json"] = fingerprint([path.read_bytes()])
    atomic_write_json(folder / "manifest.json", manifest)
    return names


def main(
    data: Annotated[Path, typer.Option(file_okay=False, help="The data folder.")] = Path("data"),
    only_statements: Annotated[
        bool, typer.Option("--only-statements", help="Leave pictures as they are.")
    ] = False,
) -> None:
    """Write the bundled concepts again."""
    folder = data / "concepts"
    if only_statements:
        typer.echo(f"wrote the statements of {len(restate(folder))} concepts in {folder}")
        return
    write_concepts(folder)
    typer.echo(f"wrote {len(PORTRAITS)} concepts to {folder}")


if __name__ == "__main__":
    run_command(main, "concepts")
