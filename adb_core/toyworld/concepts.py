"""The bundled concepts: individuals that pretraining never draws, photographed five times each.

``python -m adb_core.toyworld.concepts`` writes ``data/concepts`` again, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from ..system.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from .portraits import PORTRAITS, Portrait
from .render import render
from .sampling import sample_pose
from .scene import Scene

LICENSE = "Apache-2.0"


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


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _write_one(folder: Path, portrait: Portrait) -> dict[str, str]:
    """Write one concept; return file name -> sha256."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    sums, entries = {}, []
    for k, (scene, seed) in enumerate(photos(portrait), 1):
        drawn = render(scene, seed)
        for name, data in (
            (f"{k:02d}.png", _png(drawn.image)),
            (f"masks/{k:02d}.png", _png(drawn.masks["subject"].astype(np.uint8) * 255)),
        ):
            atomic_write_bytes(folder / name, data)
            sums[f"{portrait.name}/{name}"] = hashlib.sha256(data).hexdigest()
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
            "provenance": "drawn by adb_core.toyworld.concepts",
            "license": LICENSE,
        },
    )
    sums[f"{portrait.name}/concept.json"] = hashlib.sha256(
        (folder / "concept.json").read_bytes()
    ).hexdigest()
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
        "Individuals of the toy world that the tiny model never saw in pretraining. Recipes are tuned on the",
        "tuning half only; the held-out half is for reporting. Written by `python -m adb_core.toyworld.concepts`;",
        f"licence {LICENSE}.",
        "",
        "| name | category | half | looks |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {p.name} | {p.category} | {p.split.replace('_', '-')} | {p.looks} |" for p in PORTRAITS
    ]
    atomic_write_text(folder / "README.md", "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m adb_core.toyworld.concepts", description=__doc__
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="the data folder (default: data)"
    )
    folder = parser.parse_args().data / "concepts"
    write_concepts(folder)
    print(f"wrote {len(PORTRAITS)} concepts to {folder}")


if __name__ == "__main__":
    main()
