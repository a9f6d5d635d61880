"""The model card of the tiny Stable Diffusion: data/tiny-sd/README.md."""

from __future__ import annotations

import json
from pathlib import Path

from ..system.files import atomic_write_json, atomic_write_text
from ..toyworld.grammar import (
    ACCESSORY_PHRASES,
    BUILD_WORDS,
    MARK_PHRASES,
    PATTERN_WORDS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    SKY_PHRASES,
    STYLE_PHRASES,
)
from ..toyworld.scene import CATEGORIES, COLORS, OBJECTS
from .evaluate import show

RECORD = "training.json"

FRONT = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags:
- stable-diffusion
- educational
---
"""


def training_record(run_dir: str | Path, start: str | Path | None = None) -> list[dict]:
    """What was trained, one entry a run, oldest first: ``command``, ``hardware``, the commit of the ``code``,
    perhaps a ``note``, what was ``measured`` after it, and, by stage, steps, seconds, batch and seed.

    Args:
        start: the folder whose weights this run went on from; its own record comes first.

    Raises:
        FileNotFoundError: the run folder holds no finished stage.
    """
    stages = {}
    for path in sorted(Path(run_dir).glob("*/done.json")):
        done = json.loads(path.read_text())
        stages[done.get("name", path.parent.name)] = {
            "steps": done["steps"],
            "seconds": done["seconds"],
            "batch": done.get("settings", {}).get("batch"),
            "seed": done.get("seed"),
        }
    if not stages:
        raise FileNotFoundError(f"no finished stage in {run_dir}: it holds no */done.json")
    manifest = Path(run_dir) / "cache" / "manifest.json"
    images = f"--images {json.loads(manifest.read_text())['count']} " if manifest.exists() else ""
    steps = ",".join(f"{name}={done['steps']}" for name, done in stages.items())
    began = "--from data " if start is not None else ""
    this = {
        "command": f"python -m adb_core.tinymodel.pretrain {began}{images}--steps {steps}",
        "hardware": hardware(),
        "code": code(),
        "stages": stages,
    }
    return [*read_record(start), this] if start is not None else [this]


def read_record(data_dir: str | Path) -> list[dict]:
    """``tiny-sd/training.json`` of a data folder, or an empty list."""
    path = Path(data_dir) / "tiny-sd" / RECORD
    return json.loads(path.read_text()) if path.exists() else []


def hardware() -> str:
    """This machine in general words."""
    import os

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "unknown")()
    return f"{os.cpu_count()} CPU cores, {capability}"


def code() -> str:
    """The commit of this checkout in short, or the package's version where there is no checkout."""
    import subprocess

    from .. import __version__

    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
        return (
            f"commit {asked.stdout.strip()}" if asked.returncode == 0 else f"version {__version__}"
        )
    except FileNotFoundError:  # no git
        return f"version {__version__}"


def count_parameters(weights: Path) -> int:
    """Numbers in a safetensors file, from its header."""
    from safetensors import safe_open

    with safe_open(weights, framework="np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    total = 0
    for shape in shapes:
        size = 1
        for n in shape:
            size *= n
        total += size
    return total


def _parts(data: Path) -> list[tuple[str, str, Path]]:
    def config(path: Path) -> dict:
        return json.loads(path.read_text())

    unet, vae = config(data / "tiny-sd/unet/config.json"), config(data / "tiny-sd/vae/config.json")
    text = config(data / "tiny-sd/text_encoder/config.json")
    shapes = [
        (
            "text encoder",
            f"CLIPTextModel, {text['num_hidden_layers']} layers, width {text['hidden_size']}, "
            f"{text['max_position_embeddings']} tokens, vocabulary {text['vocab_size']}",
            "tiny-sd/text_encoder",
        ),
        (
            "VAE",
            f"AutoencoderKL, 128x128x3 -> 16x16x{vae['latent_channels']}, channels {vae['block_out_channels']}",
            "tiny-sd/vae",
        ),
        (
            "U-Net",
            f"UNet2DConditionModel, channels {unet['block_out_channels']}, "
            f"down blocks {', '.join(unet['down_block_types'])}",
            "tiny-sd/unet",
        ),
        (
            "tiny-clip (metrics)",
            "CLIPModel: this text tower and a ViT with 16x16-pixel patches",
            "tiny-clip",
        ),
        ("judge (metrics)", "convolutional net: twelve label heads, identity embedding", "judge"),
    ]
    return [
        (name, shape, next((data / folder).glob("*.safetensors"))) for name, shape, folder in shapes
    ]


def _architecture(data: Path) -> str:
    lines = ["| part | what | parameters | MB on disk |", "|---|---|---|---|"]
    for name, shape, weights in _parts(data):
        lines.append(
            f"| {name} | {shape} | {count_parameters(weights) / 1e6:.2f} M | "
            f"{weights.stat().st_size / 1e6:.1f} |"
        )
    return "\n".join(lines)


def _measured(results: dict) -> str:
    lines = ["| what | measured | 95 % interval | bar | chance | n |", "|---|---|---|---|---|---|"]
    for row in results["rows"]:

        def said(key: str) -> str:
            return "" if row[key] is None else show(row[key], row["unit"])

        span = f"{said('low')} to {said('high')}" if row["low"] is not None else ""
        bar = (
            ""
            if row["bar"] is None
            else ("at most " if row["unit"] == "s" else "at least ") + said("bar")
        )
        missed = " (missed)" if row["passed"] is False else ""
        lines.append(
            f"| {row['group']}: {row['what']} | {said('value')}{missed} | {span} | {bar} | {said('chance')} | "
            f"{row['count']} |"
        )
    return "\n".join(lines)


def _budget(record: list[dict]) -> str:
    """The runs one after the other, each with its command and a table of its stages."""
    parts = []
    for number, run in enumerate(record, 1):
        went_on = (
            ""
            if number == 1
            else ", going on from the weights before it; stages that it kept as they were are left out"
        )
        said = "".join(f", {run[key]}" for key in ("code", "note") if key in run)
        lines = [
            f"Run {number} of {len(record)}, on {run['hardware']}{said}{went_on}:",
            "",
            "```",
            run["command"],
            "```",
            "",
            "| stage | steps | minutes | samples a second |",
            "|---|---|---|---|",
        ]
        for name, done in run["stages"].items():
            if done["steps"]:
                seconds = max(done["seconds"], 1e-9)
                rate = f"{done['steps'] * done['batch'] / seconds:.0f}" if done["batch"] else ""
                lines.append(f"| {name} | {done['steps']} | {seconds / 60:.1f} | {rate} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


SHARES = (
    "category", "place", "style", "accessory", "color", "relation", "object", "pattern", "mark"
)  # fmt: skip


def _shares(results: dict) -> dict:
    """What the judge found in generated pictures, label -> share, and how they were drawn."""
    found = {
        row["what"]: row["value"] for row in results["rows"] if row["group"].startswith("generated")
    }
    return {
        "drawn with": f"{results['sampler']}, guidance {results['guidance']:g}",
        **{name: found[name] for name in SHARES if name in found},
    }


def _curve(record: list[dict]) -> str:
    """Quality against budget: what was measured after each run, and the U-Net's steps until then."""
    lines, steps = (
        [
            "| U-Net steps in all | drawn with | " + " | ".join(SHARES) + " |",
            "|---|---|" + "---|" * len(SHARES),
        ],
        0,
    )
    for run in record:
        steps += run["stages"].get("unet", {}).get("steps", 0)
        for measured in run.get("measured", []):
            lines.append(
                f"| {steps} | {measured['drawn with']} | "
                + " | ".join(show(measured[n], "share") if n in measured else "" for n in SHARES)
                + " |"
            )
    return "\n".join(lines)


def _grammar() -> str:
    def words(phrases: dict) -> str:
        return "; ".join(p.format("...") for options in phrases.values() for p in options)

    return "\n".join(
        [
            f"- style: {words(STYLE_PHRASES)}",
            f"- subject: a or an, {words(BUILD_WORDS)}, one or two colors ({', '.join(COLORS)}), "
            f"{words(PATTERN_WORDS)}, a category ({', '.join(CATEGORIES)})",
            f"- mark: {words(MARK_PHRASES)}",
            f"- accessory: {words(ACCESSORY_PHRASES)}",
            f"- relation: {words(RELATION_PHRASES)}, with {', '.join(OBJECTS)}",
            f"- place: {words(PLACE_PHRASES)}",
            f"- in the air: {words(SKY_PHRASES)}",
        ]
    )


def write_model_card(data_dir: str | Path, results: dict) -> None:
    """Write ``data_dir/tiny-sd/README.md``.

    Args:
        results: of :func:`.evaluate.evaluate`. What was trained is read from ``tiny-sd/training.json``, whose last run
            is told what was measured after it.
    """
    data = Path(data_dir)
    record = read_record(data)
    if record:
        shares = _shares(results)
        kept = [
            m for m in record[-1].get("measured", []) if m["drawn with"] != shares["drawn with"]
        ]
        record[-1]["measured"] = [*kept, shares]
        atomic_write_json(data / "tiny-sd" / RECORD, record)
    seeds = {
        done["seed"]
        for run in record
        for done in run["stages"].values()
        if done["seed"] is not None
    }
    seed = f"Seed {', '.join(map(str, sorted(seeds)))}. " if seeds else ""
    text = f"""{FRONT}
# tiny-sd: a Stable Diffusion small enough to study

A complete latent diffusion model of 128x128 pictures, trained from scratch on the procedural
toy world of this repository. Plain `diffusers` loads it:

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("data/tiny-sd")
image = pipe("a photo of a red cat wearing a hat on the beach", num_inference_steps={results["steps"]},
             guidance_scale={results["guidance"]:g}).images[0]
```

## How prompts should look

A style, a subject, then any of mark, accessory, relation, place and what is in the air:
"a painting of a tall blue and white striped robot with a star wearing a crown in the snow".

{_grammar()}

Each of these words is one token. Other text tokenises too, but the model has never seen it.

## Measured

Generated pictures: {results["counts"]["generated"]} prompts whose combination of attributes was held out of
pretraining, {results["steps"]} steps of {results["sampler"]}, guidance {results["guidance"]:g}, scored by a judge
that was never trained on generated pictures. Real renders: fresh ones, half of them of held-out combinations.
A map counts as on an element if at least a quarter of the peak's cell (8x8 pixels) belongs to it.
Measured on {results["device"]}, seed {results["seed"]}.

{_measured(results)}

## Architecture

{_architecture(data)}

The U-Net predicts v (DDPM, 1,000 steps). The text tower was trained with a contrastive and a
token-to-patch contrastive loss, and then frozen. No mask was used in training it or the U-Net:
that word maps land where the word belongs has emerged. In training, the U-Net's 8x8 features
are also drawn towards what tiny-clip's vision tower sees in each 16x16 pixels (by a head that is thrown away).

## Training

{seed}Half precision on disk. A command repeats its run step for step, with the code of the commit that
is named; the speed of the machine does not matter, for the steps are given.

{_budget(record)}

The measurement: `python -m adb_core.tinymodel.evaluate`

Quality against budget, the same {results["counts"]["generated"]} prompts, read by the judge of the time:

{_curve(record)}

## Intended use and limits

For teaching and for testing personalization methods, where ground truth (which pixels are the
subject, which attributes were asked for) and quick runs matter. It draws its own small world and
nothing else: no people, no text, no real photographs, no word outside the grammar above. Fine
patterns can wobble, and rare combinations can lose their object. Numbers from this world do not
carry over to models of real pictures.
"""
    atomic_write_text(data / "tiny-sd" / "README.md", text)
