"""What gradient checkpointing and micro-batches save: peak memory of a training step.

    python benchmarks/memory.py [--narrow 8] [--side 256] [--batch 4]

Stable Diffusion 2.1's blocks, ``narrow`` times as thin, with random weights, on a CPU in float32;
the whole U-Net is trained with the regularizer. Each row is a process of its own: its resident
memory at its peak, less what it held before the first step; the peak itself, beside the estimate of
``adb_core/tiers.py``; and the time of a step.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from shapes import SHAPES, narrowed, random_base
from timing import machine

from adb_core import tiers
from adb_core.concept import Concept
from adb_core.learner import Learner
from adb_core.options import RunOptions
from adb_core.recipes import Recipe, Stage, recipe
from adb_core.system.commands import run_command
from adb_core.training import train_stage

WAYS = {
    "as it is": {},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "micro-batches of 1": {"micro_batch": 1},
    "both": {"gradient_checkpointing": True, "micro_batch": 1},
}


def resident(name: str = "VmRSS") -> float:
    """MiB of this process, now or (VmHWM) at its peak. Linux."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 2**10


def measure(way: str, narrow: int, side: int, batch: int, steps: int = 2) -> dict[str, float]:
    """Peak MiB that steps add, the loss of the last, and seconds of the last."""
    torch.set_num_threads(1)
    base = random_base(narrowed(SHAPES["sd21"], narrow, side), torch.device("cpu"))
    stage = replace(recipe("attndreambooth", "paper").stages[-1], steps=steps, batch_size=batch)
    options = RunOptions(view_count=1, in_place=True, **WAYS[way])
    learner = Learner(base, Concept.bundled("pico"), Recipe("r", (stage,)), options)
    before = resident()
    records = list(train_stage(learner, stage))
    peak = resident("VmHWM")
    return {
        "added": peak - before,
        "peak": peak,
        "estimate": 2**10 * estimate(base, stage, options, batch),
        "loss": records[-1].loss,
        "seconds": records[-1].seconds,
    }


def estimate(base, stage: Stage, options: RunOptions, batch: int) -> float:
    """GiB by the arithmetic of the tier ``cpu``, with these options in place of its own."""
    size = tiers.model_size(base)
    most = size.sample * (options.micro_batch or batch)  # in samples of the full size
    tier = replace(
        tiers.TIERS["cpu"],
        checkpointing=options.gradient_checkpointing,
        micro_batch=most,
        offload=False,
    )
    return tiers.estimate(tier, size, Recipe("r", (stage,)))


def in_a_process(way: str, narrow: int, side: int, batch: int) -> dict[str, float]:
    """The same in a process of its own, whose peak is this way's alone."""
    told = json.dumps([way, narrow, side, batch])
    command = [sys.executable, __file__, "--child", told]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(
    narrow: Annotated[int, typer.Option(help="Divide all widths by it.")] = 8,
    side: Annotated[int, typer.Option(help="Pixels.")] = 256,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 4,
    told: Annotated[str, typer.Option("--child", hidden=True)] = "",
) -> None:
    """Print a row for each way."""
    if told:
        print(json.dumps(measure(*json.loads(told))))
        return
    print(f"{machine(torch.device('cpu'))}; SD 2.1 / {narrow}, {side} pixels, batch {batch}")
    for way in WAYS:
        found = in_a_process(way, narrow, side, batch)
        print(
            f"  {way:24s} +{found['added']:6.0f} MiB   peak {found['peak']:6.0f} MiB, by estimate "
            f"{found['estimate']:6.0f}   {found['seconds']:6.2f} s a step   "
            f"loss {found['loss']:.6f}",
            flush=True,
        )


if __name__ == "__main__":
    run_command(main, "memory")
