"""On a CUDA GPU: does it compute what a CPU does, how fast, and in how much memory?

    make gpu                                  everything, in half an hour on one large GPU
    python benchmarks/gpu.py --trial --narrow 16     the script itself, tried on a CPU: few steps

Models have the real shapes and random weights (``shapes.py``), so nothing is downloaded. For every
shape and tier: time of a step of each stage, its share of the card's peak (MFU), and the memory at
its peak; smaller cards are emulated by a cap on this process. Then the paper's recipe from its
beginning to its end, and its steps against ``plain_loop.py``, in turn; at the end, how fast the
tiny model's U-Net learns when it is made from nothing. MFU counts the products of
one forward pass, three times where weights are trained and twice where gradient only passes
through; what checkpointing computes again does not count.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from plain_loop import PlainRun
from shapes import SHAPES, Shape, narrowed, random_base
from timing import clock, machine, ratio

from adb_core import tiers
from adb_core.concept import Concept
from adb_core.engine import make_accelerator
from adb_core.learner import Learner
from adb_core.options import RunOptions
from adb_core.personalization import Run
from adb_core.recipes import Recipe, Stage, recipe, scaled
from adb_core.system.commands import run_command
from adb_core.system.devices import tf32
from adb_core.system.memory import GIB, is_out_of_memory, release_memory
from adb_core.training import train_stage

ROOT = Path(__file__).resolve().parents[1]
CAPS = {"gpu8": 8, "gpu16": 16, "gpu24": 24, "gpu80": 80}  # GiB of the card that a tier is for
BARS = "bars on an H100: recipe 4 min, 4x the plain loop, gpu16 within 14.5 GiB"

# Dense products in bf16 (V100 and T4: fp16), teraflops, from NVIDIA's data sheets of each card;
# where a sheet gives the number "with sparsity", half of it. A card that is not here has no MFU.
PEAKS = {
    "H200": 989.4,  # H200 Tensor Core GPU, SXM: 1,979 with sparsity
    "H100 PCIe": 756.5,  # H100 Tensor Core GPU, PCIe: 1,513 with sparsity
    "H100 NVL": 835.5,  # H100 NVL: 1,671 with sparsity
    "H100": 989.4,  # H100 Tensor Core GPU, SXM: 1,979 with sparsity
    "A100": 312.0,  # A100 Tensor Core GPU
    "L40S": 362.05,  # L40S: 733 with sparsity (NVIDIA rounds)
    "L4": 121.0,  # L4: 242 with sparsity
    "A10": 125.0,  # A10
    "T4": 65.0,  # T4, fp16
    "V100": 125.0,  # V100 SXM2, fp16
    "RTX 4090": 165.2,  # Ada architecture whitepaper, fp32 accumulation
    "RTX 3090": 71.0,  # Ampere GA102 whitepaper, fp32 accumulation
}


def peak_teraflops(name: str) -> float | None:
    """The card's peak; the longest name that matches counts."""
    found = [known for known in PEAKS if known in name]
    return PEAKS[max(found, key=len)] if found else None


def forward_flops(base) -> int:
    """Operations of the U-Net's products for one sample, two a multiplication and addition."""
    from torch.utils.flop_counter import FlopCounterMode

    latents = torch.zeros(1, 4, base.latent_side, base.latent_side, device=base.device)
    ids = torch.zeros(1, 77, dtype=torch.long, device=base.device)
    with torch.no_grad():
        states = base.encode_prompts(ids)
        with FlopCounterMode(display=False) as counter:
            base.predict(base.unet, latents, torch.zeros(1, device=base.device), states)
    return counter.get_total_flops()


def share_of_peak(flops: int, stage: Stage, seconds: float, peak: float | None) -> str:
    """MFU of a step as text."""
    if peak is None:
        return "-"
    passes = 3 if "unet" in stage.train else 2
    return f"{flops * passes * stage.batch_size / seconds / (peak * 1e12):.1%}"


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    device: torch.device
    shape: Shape
    steps: int

    def plan(self) -> Recipe:
        return recipe("attndreambooth", "paper")

    def options(self, base, tier: tiers.Tier, **more) -> RunOptions:
        size = tiers.model_size(base)
        precision = tiers.precision_for(self.device)
        accelerator = make_accelerator(self.device, precision)
        given = RunOptions(view_count=4, in_place=True, accelerator=accelerator, **more)
        return tiers.fitted(given, tier, size, self.device)

    def peak(self) -> str:
        """GiB of the device's allocator at its peak; on a CPU it has none."""
        is_cuda = self.device.type == "cuda"
        return f"{torch.cuda.max_memory_allocated() / GIB:6.2f} GiB" if is_cuda else "     - GiB"

    def fresh(self):
        """A model of its own, and the counter of the peak at nothing."""
        release_memory()
        base = random_base(self.shape, self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return base


# ---------------------------------------------------------------- tiers


def capped(tier: tiers.Tier, device: torch.device) -> None:
    """Let this process take no more than the card that a tier is for has."""
    if device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory / GIB
        torch.cuda.set_per_process_memory_fraction(min(1.0, CAPS[tier.name] / whole))


def tier_rows(bench: Bench, tier: tiers.Tier) -> Iterator[str]:
    """A line for each stage in a tier; what does not fit says so."""
    capped(tier, bench.device)
    plan, peak = bench.plan(), None
    if bench.device.type == "cuda":
        peak = peak_teraflops(torch.cuda.get_device_name())
    for stage in plan.stages:
        base = bench.fresh()
        flops = forward_flops(base)
        short = replace(stage, steps=bench.steps)
        try:
            learner = Learner(
                base, Concept.bundled("pico"), Recipe("r", (short,)), bench.options(base, tier)
            )
            with tf32(tier.tf32):
                seconds = min(record.seconds for record in train_stage(learner, short))
            mfu = share_of_peak(flops, stage, seconds, peak)
            did = f"{seconds * 1000:8.0f} ms a step   MFU {mfu:>6s}   {bench.peak()}"
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            did = "does not fit"
        need = tiers.estimate(tier, tiers.model_size(base), Recipe("r", (stage,)))
        yield f"  {tier.name:6s} {stage.name:10s} {did}   (estimate {need:.1f})"
        del base
        learner = None


# ---------------------------------------------------------------- the recipe, and the plain loop


def whole_recipe(bench: Bench, tier: tiers.Tier, scale: float) -> str:
    """The paper's recipe from the encoding of views to the last step."""
    capped(tier, bench.device)
    base = bench.fresh()
    plan = scaled(bench.plan(), steps=scale)
    began = time.perf_counter()
    with tf32(tier.tf32):
        run = Run(base, Concept.bundled("pico"), plan, bench.options(base, tier))
        run.finish()
    seconds = time.perf_counter() - began
    return (
        f"  {plan.steps} steps in {seconds:.0f} s, {bench.peak().strip()} at the peak "
        f"(tier {tier.name})"
    )


class Stages:
    """The engine's side of the race: pauses where ``PlainRun`` does."""

    def __init__(self, bench: Bench, base, plan: Recipe, tier: tiers.Tier):
        self.bench, self.base, self.plan, self.tier = bench, base, plan, tier

    def parts(self) -> Iterator[str]:
        run = Run(
            self.base, Concept.bundled("pico"), self.plan, self.bench.options(self.base, self.tier)
        )
        yield "prepare"
        for record in run:
            if record.is_last:
                yield record.stage


def against_plain(bench: Bench, tier: tiers.Tier, scale: float) -> Iterator[str]:
    """Stage by stage in turn, both sides in this process."""
    capped(tiers.TIERS["gpu80"], bench.device)
    plan = scaled(bench.plan(), steps=scale)
    sides = {
        "engine": Stages(bench, bench.fresh(), plan, tier),
        "plain": PlainRun(random_base(bench.shape, bench.device), Concept.bundled("pico"), plan),
    }
    steps = {name: side.parts() for name, side in sides.items()}
    total = dict.fromkeys(sides, 0.0)
    for turn, part in enumerate(["prepare", *(stage.name for stage in plan.stages)]):
        order = list(sides) if turn % 2 else list(sides)[::-1]
        took = {name: clock(lambda name=name: next(steps[name]), bench.device) for name in order}
        if part != "prepare":
            total = {name: total[name] + took[name] for name in total}
        yield (
            f"  {part:10s} engine {took['engine']:7.2f} s   plain {took['plain']:7.2f} s   "
            f"{took['plain'] / took['engine']:.2f}x"
        )
    yield f"  all steps  {ratio([total['plain']], [total['engine']]).median:.2f}x"


# ---------------------------------------------------------------- the tiny model from nothing


def pretraining(device: torch.device, steps: int) -> str:
    """The tiny model's U-Net on random latents; all that its loop does is counted, saving too."""
    from adb_core.base import load_base
    from adb_core.pretraining.settings import Budget, Place
    from adb_core.pretraining.unet import FIT, Frozen, Lessons, train_unet

    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)
    base = load_base("tiny", device=str(device))
    latents = torch.randn(1024, base.unet.config.in_channels, base.latent_side, base.latent_side)
    lessons = Lessons(latents.half(), [("a photo of a cat",)] * len(latents))
    frozen = Frozen(base.vae, base.text_encoder, base.tokenizer)
    seconds = 0.0
    for count in (2, steps):  # the first time warms up
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), 0, device)
            how = {"place": place, "budget": Budget(steps=count), "previews": False}
            seconds = clock(lambda how=how: train_unet(lessons, frozen, **how), device)
    speed = steps * FIT.batch / seconds
    return f"  {steps} steps of {FIT.batch} in {seconds:.1f} s: {speed:.0f} samples a second"


# ---------------------------------------------------------------- all of it


def correctness() -> str:
    """The last line of tests/test_gpu.py."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def main(
    shapes: Annotated[list[str], typer.Option(help=", ".join(SHAPES))] = ["sd21", "sd15", "sdxl"],
    tier: Annotated[list[str], typer.Option(help="Of these tiers.")] = list(CAPS),
    steps: Annotated[
        int | None, typer.Option(help="Steps that are timed, the quickest counts: 8; 2 in a trial.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Share of the recipe's steps: all; 0.02 in a trial.")
    ] = None,
    race_scale: Annotated[
        float | None, typer.Option(help="The same for the race: 0.03; 0.01 in a trial.")
    ] = None,
    narrow: Annotated[int, typer.Option(help="Divide all widths, for a trial.")] = 1,
    trial: Annotated[bool, typer.Option(help="Run without CUDA too: times mean nothing.")] = False,
) -> None:
    """Measure everything and print it."""
    if not torch.cuda.is_available() and not trial:
        print("no CUDA device here: nothing was measured (try the script with --trial --narrow 16)")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    usual = (2, 0.02, 0.01) if trial else (8, 1.0, 0.03)
    asked = (steps, scale, race_scale)
    steps, scale, race_scale = (
        a if a is not None else b for a, b in zip(asked, usual, strict=True)
    )
    print(f"{machine(device)}, {time.strftime('%Y-%m-%d')}, commit {commit()}; {BARS}")
    if device.type == "cuda":
        print(f"correctness: {correctness()}", flush=True)
    for name in shapes:
        shape = SHAPES[name] if narrow == 1 else narrowed(SHAPES[name], narrow, 64)
        bench = Bench(device, shape, steps)
        print(f"{name}: steps by tier, each under a cap of its card's memory")
        for each in tier:
            for row in tier_rows(bench, tiers.TIERS[each]):
                print(row, flush=True)
        widest = tiers.TIERS[tier[-1]]
        print(f"{name}: the paper's recipe\n{whole_recipe(bench, widest, scale)}", flush=True)
        if len(shape.encoders) == 1:  # the plain loop knows no other
            print(f"{name}: against the plain loop, in turn")
            for row in against_plain(bench, widest, race_scale):
                print(row, flush=True)
    print(f"the tiny model from nothing, its U-Net\n{pretraining(device, 2 if trial else 400)}")


if __name__ == "__main__":
    run_command(main, "gpu")
