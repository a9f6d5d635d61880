"""The bundled concepts: individuals that pretraining never draws, photographed five times each.

``python -m adb_core.toyworld.concepts`` writes ``data/concepts`` again, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..system.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from .render import render
from .scene import Instance, Scene, sample_pose

LICENSE = "Apache-2.0"


@dataclass(frozen=True)
class Portrait:
    """A concept: who it is, where its photos were taken and which half it belongs to."""

    name: str
    category: str
    instance: Instance
    places: tuple[str | None, ...]
    split: str
    looks: str


def _who(primary, secondary, pattern, mark, width, height, head, detail, layout) -> Instance:
    return Instance(primary, secondary, pattern, mark, width, height, head, detail, layout)


PORTRAITS = (
    Portrait(
        "pico",
        "cat",
        _who((38, 178, 172), (240, 120, 60), "spots", "star", 1.16, 0.86, 1.12, 1.20, 11),
        (None, "kitchen", None, "beach", "kitchen"),
        "tuning",
        "teal cat with orange spots, a star and big ears",
    ),
    Portrait(
        "bolt",
        "robot",
        _who((168, 224, 40), (120, 30, 120), "checks", "bolt", 0.86, 1.14, 1.18, 1.22, 12),
        ("city", None, "city", None, "snow"),
        "tuning",
        "lime robot with purple checks and a lightning bolt",
    ),
    Portrait(
        "nori",
        "teapot",
        _who((28, 32, 120), (250, 170, 190), "zigzag", "moon", 1.12, 0.90, 1.20, 1.22, 13),
        (None, "forest", "forest", None, "desert"),
        "tuning",
        "navy teapot with a pink zigzag and a moon",
    ),
    Portrait(
        "mellow",
        "rabbit",
        _who((186, 174, 240), (40, 150, 90), "half", "heart", 0.84, 1.12, 1.16, 0.80, 14),
        ("beach", None, None, "moon", "beach"),
        "tuning",
        "lavender rabbit, half green, with a heart and short ears",
    ),
    Portrait(
        "dash",
        "car",
        _who((226, 40, 150), (170, 236, 250), "stripes", "star", 0.84, 1.20, 1.22, 1.18, 15),
        ("desert", None, "desert", "kitchen", None),
        "tuning",
        "magenta car with icy stripes and a star, short and tall",
    ),
    Portrait(
        "cumin",
        "mushroom",
        _who((144, 138, 32), (60, 230, 220), "rings", "moon", 1.18, 0.84, 1.18, 1.12, 16),
        (None, "snow", None, "snow", "city"),
        "tuning",
        "olive mushroom with turquoise rings and a moon",
    ),
    Portrait(
        "zorro",
        "dog",
        _who((252, 130, 104), (30, 70, 130), "checks", "heart", 1.16, 0.86, 1.14, 0.78, 21),
        ("forest", None, "forest", None, "kitchen"),
        "held_out",
        "coral dog with navy checks, a heart and short ears",
    ),
    Portrait(
        "luna",
        "bear",
        _who((140, 226, 190), (130, 40, 110), "half", "moon", 0.84, 1.14, 1.16, 1.24, 22),
        (None, "city", None, "city", "beach"),
        "held_out",
        "mint bear, half plum, with a moon and large ears",
    ),
    Portrait(
        "toto",
        "turtle",
        _who((112, 16, 72), (250, 220, 90), "rings", "star", 0.88, 1.18, 1.20, 1.16, 23),
        ("sea", None, "sea", "desert", None),
        "held_out",
        "wine-red turtle with yellow rings, a star and a high shell",
    ),
    Portrait(
        "sol",
        "mug",
        _who((120, 206, 250), (230, 90, 30), "zigzag", "bolt", 0.86, 1.12, 1.18, 1.22, 24),
        (None, "kitchen", "kitchen", None, "snow"),
        "held_out",
        "sky mug with an orange zigzag and a lightning bolt",
    ),
    Portrait(
        "pip",
        "bird",
        _who((198, 226, 70), (110, 20, 130), "zigzag", "heart", 1.18, 0.86, 1.16, 1.20, 25),
        ("moon", None, None, "forest", "moon"),
        "held_out",
        "chartreuse bird with a violet zigzag and a heart",
    ),
    Portrait(
        "casa",
        "house",
        _who((10, 116, 122), (250, 150, 130), "checks", "star", 0.86, 1.16, 1.20, 0.82, 26),
        (None, "beach", None, "beach", "forest"),
        "held_out",
        "petrol house with salmon checks and a star",
    ),
)


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
