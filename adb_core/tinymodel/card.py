"""The model card of the tiny Stable Diffusion: data/tiny-sd/README.md."""

from __future__ import annotations

import json
from pathlib import Path

from ..system.files import atomic_write_json, atomic_write_text
from .card_tables import SHARES, architecture, budget, curve, grammar, measured

RECORD = "training.json"

TEMPLATE = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags:
- stable-diffusion
- educational
---

# tiny-sd: a Stable Diffusion small enough to study

A complete latent diffusion model of 128x128 pictures, trained from scratch on the procedural
toy world of this repository. Plain `diffusers` loads it:

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("data/tiny-sd")
prompt = "a photo of a red cat wearing a hat on the beach"
image = pipe(prompt, num_inference_steps={steps}, guidance_scale={guidance:g}).images[0]
```

## How prompts should look

A style, a subject, then any of mark, accessory, relation, place and what is in the air:
"a painting of a tall blue and white striped robot with a star wearing a crown in the snow".

{grammar}

Each of these words is one token. Other text tokenizes too, but the model has never seen it.

## Measured

Generated pictures: {generated} prompts whose combination of attributes was held out of
pretraining, {steps} steps of {sampler}, guidance {guidance:g}, scored by a judge that was never
trained on generated pictures. Real renders: fresh ones, half of them of held-out combinations.
A map counts as on an element if at least a quarter of the peak's cell (8x8 pixels) belongs to it.
Measured on {device}, seed {seed}.

{measured}

## Architecture

{architecture}

The U-Net predicts v (DDPM, 1,000 steps). The text tower was trained with a contrastive and a
token-to-patch contrastive loss, and then frozen. No mask was used in training it or the U-Net:
that word maps land where the word belongs has emerged. In training, the U-Net's 8x8 features
are also drawn towards what tiny-clip's vision tower sees in each 16x16 pixels (by a head that is
thrown away).

## Training

{trained_seeds}Half precision on disk. A command repeats its run step for step, with the code of the
commit that is named; the speed of the machine does not matter, for the steps are given.

{budget}

The measurement: `python -m adb_core.tinymodel.evaluate`

Quality against budget, the same {generated} prompts, read by the judge of the time:

{curve}

## Intended use and limits

For teaching and for testing personalization methods, where ground truth (which pixels are the
subject, which attributes were asked for) and quick runs matter. It draws its own small world and
nothing else: no people, no text, no real photographs, no word outside the grammar above. Fine
patterns can wobble, and rare combinations can lose their object. Numbers from this world do not
carry over to models of real pictures.
"""


def read_record(data_dir: str | Path) -> list[dict]:
    """``tiny-sd/training.json`` of a data folder, or an empty list."""
    path = Path(data_dir) / "tiny-sd" / RECORD
    return json.loads(path.read_text()) if path.exists() else []


def _shares(results: dict) -> dict:
    """What the judge found in generated pictures, label -> share, and how they were drawn."""
    rows = [row for row in results["rows"] if row["group"].startswith("generated")]
    found = {row["what"]: row["value"] for row in rows}
    return {
        "drawn with": f"{results['sampler']}, guidance {results['guidance']:g}",
        **{name: found[name] for name in SHARES if name in found},
    }


def _told(data: Path, results: dict) -> list[dict]:
    """The record of training, whose last run is told what was measured after it."""
    record = read_record(data)
    if record:
        shares = _shares(results)
        before = record[-1].get("measured", [])
        kept = [m for m in before if m["drawn with"] != shares["drawn with"]]
        record[-1]["measured"] = [*kept, shares]
        atomic_write_json(data / "tiny-sd" / RECORD, record)
    return record


def _seeds(record: list[dict]) -> str:
    stages = [done for run in record for done in run["stages"].values()]
    seeds = {done["seed"] for done in stages if done["seed"] is not None}
    return f"Seed {', '.join(map(str, sorted(seeds)))}. " if seeds else ""


def write_model_card(data_dir: str | Path, results: dict) -> None:
    """Write ``data_dir/tiny-sd/README.md``.

    Args:
        results: of :func:`.evaluate.evaluate`. What was trained is read from
            ``tiny-sd/training.json``, whose last run is told what was measured after it.
    """
    data = Path(data_dir)
    record = _told(data, results)
    text = TEMPLATE.format(
        steps=results["steps"],
        guidance=results["guidance"],
        sampler=results["sampler"],
        generated=results["counts"]["generated"],
        device=results["device"],
        seed=results["seed"],
        trained_seeds=_seeds(record),
        grammar=grammar(),
        measured=measured(results),
        architecture=architecture(data),
        budget=budget(record),
        curve=curve(record),
    )
    atomic_write_text(data / "tiny-sd" / "README.md", text)
