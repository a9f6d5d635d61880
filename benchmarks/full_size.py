"""Stable Diffusion 2.1 at its full size on a CPU, with random weights: does it fit into 16 GiB?

    python benchmarks/full_size.py [--side 256] [--steps 1]

All three stages of the method at batch 1 with AdamW in float32, in the tier ``cpu``: the VAE and,
from the second stage on, the text encoders are mapped from a file. Prints seconds a step and the
process's memory at its peak. Takes 14 GiB and some minutes.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from shapes import SHAPES, narrowed, random_base
from timing import machine, verdict

from adb_core import tiers
from adb_core.concept import Concept
from adb_core.options import RunOptions
from adb_core.personalization import Run
from adb_core.recipes import Recipe, recipe
from adb_core.system.commands import run_command

BAR = 16.0  # GiB


def peak_gib() -> float:
    """This process's resident memory at its peak."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def plan(steps: int) -> Recipe:
    """The method's three stages at batch 1."""
    paper = recipe("attndreambooth", "paper")
    stages = tuple(replace(stage, steps=steps, batch_size=1) for stage in paper.stages)
    return replace(paper, stages=stages)


def main(
    side: Annotated[int, typer.Option(help="Pixels; 512 is the model's own.")] = 256,
    steps: Annotated[int, typer.Option(help="Of each stage.")] = 1,
    narrow: Annotated[int, typer.Option(help="Divide all widths, to try the script.")] = 1,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Train all stages once and print time and memory."""
    torch.set_num_threads(threads)
    device, shape = torch.device("cpu"), SHAPES["sd21"]
    base = random_base(narrowed(shape, narrow, side) if narrow > 1 else shape, device)
    count = sum(p.numel() for p in base.unet.parameters())
    print(f"{machine(device)}; U-Net of {count / 1e6:.0f} million parameters, {side} pixels")
    size = tiers.model_size(base, side)
    options = RunOptions(view_count=1, in_place=True, resolution=side)
    options = tiers.fitted(options, tiers.TIERS["cpu"], size, device)
    need = tiers.estimate(tiers.TIERS["cpu"], size, plan(steps))
    print(f"loaded: {peak_gib():.2f} GiB; {need:.2f} GiB by estimate", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = Run(base, Concept.bundled("pico"), plan(steps), replace(options, out=folder))
        for record in run:
            print(
                f"{record.stage}, step {record.step}: loss {record.loss:.3f}, "
                f"{record.seconds:.1f} s, {peak_gib():.2f} GiB at the peak so far",
                flush=True,
            )
        saved = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**30
    peak = peak_gib()
    print(f"whole run {time.perf_counter() - began:.0f} s, with checkpoints of {saved:.2f} GiB")
    print(f"peak {peak:.2f} GiB: {verdict(peak, BAR)} GiB")
    print(json.dumps({"peak_gib": round(peak, 2), "parameters": count}))


if __name__ == "__main__":
    run_command(main, "full_size")
