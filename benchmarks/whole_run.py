"""The whole three-stage run against a plain loop that computes the same thing the obvious way.

    python benchmarks/whole_run.py [--rounds 3] [--scale 1] [--share-scale 0.1]
        [--mixed-precision auto] [--photo-side 3464]

``plain_loop.py`` is the other side. Both end with the same weights up to rounding, which is
printed, and so is the quality of both models' pictures. The engine computes in bf16 where the
processor has instructions for it (auto), which no switch of the plain loop does: with
--mixed-precision no both are float32. Both sides run in one process, stage by stage in turn. Memory
is measured in a child process for each side. The share of each saving is the plain loop's gain when
that one thing alone is switched. Bar: 2x.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from plain_loop import OBVIOUS, SAVINGS, SEED, VIEWS, PlainRun, flat_weights
from timing import bundled_base, clock, machine, ratio

from adb_core.concept import Concept
from adb_core.engine import make_accelerator
from adb_core.generation import generate
from adb_core.judges import load_judge
from adb_core.metrics import score_pictures
from adb_core.personalization import Run
from adb_core.recipes import Recipe, recipe, scaled
from adb_core.result import Result
from adb_core.study.plan import prompt_entries
from adb_core.system.commands import run_command

BAR = 2.0
QUALITY = 16  # complex prompts that the quality is measured on
SIDES = ("engine", "plain")


@dataclass(frozen=True)
class Settings:
    """What both sides, and the child processes, are told.

    Attributes:
        scale, share_scale, memory_scale: share of the recipe's steps for the race, for each saving
            alone, and for the memory, whose peak comes early.
        folder: of large photos, read in place of the concept's own.
    """

    concept: str
    scale: float
    share_scale: float
    memory_scale: float
    device: str
    mixed_precision: str
    threads: int
    folder: str = ""

    def pictures(self) -> Concept:
        """The concept, with its pictures from ``folder`` if there is one."""
        concept = Concept.bundled(self.concept)
        if not self.folder:
            return concept
        large = Concept.from_folder(self.folder, category=concept.category)
        return replace(concept, images=large.images)

    def plan(self, scale: float) -> Recipe:
        return scaled(recipe("attndreambooth"), steps=scale)

    def makers(self, base, scale: float) -> dict[str, Callable[[], object]]:
        """A function for each side that makes a run of it."""
        concept, plan = self.pictures(), self.plan(scale)
        folder = Path(self.folder) if self.folder else None
        return {
            "engine": partial(EngineRun, base, concept, plan, self.mixed_precision),
            "plain": partial(PlainRun, base, concept, plan, folder=folder),
        }


class EngineRun:
    """The project's own run, pausing where the plain one does."""

    def __init__(self, base, concept: Concept, plan: Recipe, precision: str = "no"):
        self.base, self.concept, self.plan, self.precision = base, concept, plan, precision

    def parts(self) -> Iterator[str]:
        accelerator = make_accelerator(self.base.device, self.precision)
        options = {"seed": SEED, "view_count": VIEWS, "accelerator": accelerator}
        self.run = Run(self.base, self.concept, self.plan, **options)
        yield "prepare"
        for record in self.run:
            if record.is_last:
                yield record.stage

    def result(self) -> Result:
        return self.run.result

    def weights(self) -> torch.Tensor:
        return flat_weights(self.run.learner.token.rows, self.run.learner.unet)


# ---------------------------------------------------------------- measuring


def race(
    makers: Mapping[str, Callable], parts: list[str], device: torch.device, turn: int = 0
) -> tuple[dict, dict]:
    """Run all sides part by part in turn: (runs, name -> {part: seconds})."""
    runs = {name: make() for name, make in makers.items()}
    steps = {name: run.parts() for name, run in runs.items()}
    times: dict[str, dict[str, float]] = {name: {} for name in runs}
    names = list(runs)
    for k, part in enumerate(parts):
        shift = (turn + k) % len(names)
        for name in names[shift:] + names[:shift]:
            times[name][part] = clock(partial(next, steps[name]), device)
    return runs, times


def resident(peak: bool = False) -> float:
    """Resident memory of this process in MB, now or at its peak.

    On Linux from /proc: getrusage's peak would begin with that of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        name = "VmHWM" if peak else "VmRSS"
        return int(re.search(rf"{name}:\s+(\d+)", status.read_text())[1]) / 2**10
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def child(side: str, settings: Settings) -> None:
    """Run one side and print its memory in MB: before training, and what its peak added."""
    base = bundled_base(settings.device)
    run = settings.makers(base, settings.memory_scale)[side]()
    before = resident()
    for _ in run.parts():
        pass
    memory = {"loaded": before, "added": resident(peak=True) - before}
    if base.device.type == "cuda":
        memory["device"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(memory))


def peak_memory(side: str, settings: Settings) -> dict[str, float]:
    """MB that a side's child process took, loading apart."""
    told = json.dumps({"side": side} | asdict(settings))
    command = [sys.executable, __file__, "--child", told]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the {side} side's child process failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def quality(result: Result, judge) -> dict[str, float]:
    """Text and identity of the model's pictures of the complex prompts, one each."""
    prompts = prompt_entries(QUALITY, ["complexity_4"])
    images = generate(result, [entry["prompt"] for entry in prompts]).images
    asks = [entry["asks"] for entry in prompts]
    values, _ = score_pictures(images, asks, result.learner.concept, judge=judge)
    return {name: float(values[name].mean()) for name in ("text", "identity")}


# ---------------------------------------------------------------- printing


def print_race(rounds: list[dict], parts: list[str]) -> None:
    """Times of each part, and of the whole run against the bar."""
    for part in parts:
        mine, plain = ([times[side][part] for times in rounds] for side in SIDES)
        print(
            f"  {part:10s} engine {np.median(mine):7.2f} s   plain {np.median(plain):7.2f} s   "
            f"{ratio(plain, mine)}"
        )
    mine, plain = ([sum(times[side].values()) for times in rounds] for side in SIDES)
    whole = ratio(plain, mine)
    judged = "at least" if whole.median >= BAR else "BELOW"
    print(f"plain / engine, whole run: {whole}: {judged} the bar of {BAR:g}x")


def print_results(runs: dict, base) -> None:
    """How far apart the weights end, and how good the pictures are."""
    start = flat_weights(runs["engine"].run.learner.token.initial, base.unet)
    ends = {side: run.weights() for side, run in runs.items()}
    apart = (ends["engine"] - ends["plain"]).norm() / (ends["engine"] - start).norm()
    print(f"final weights: apart by {float(apart):.1e} of the way that training moved them")
    judge = load_judge(str(base.device))
    for side, run in runs.items():
        scores = ", ".join(f"{k} {v:.3f}" for k, v in quality(run.result(), judge).items())
        print(f"  quality of the {side}'s pictures: {scores}")


def print_memory(settings: Settings) -> None:
    """The peaks of a process of its own for each side."""
    memory = {side: peak_memory(side, settings) for side in SIDES}
    key = "device" if "device" in memory["engine"] else "added"
    where = "on the device" if key == "device" else "above the loaded model"
    mine, plain = (memory[side][key] for side in SIDES)
    less = f"engine less by {plain - mine:.0f} MB"
    print(f"peak memory: engine {mine:.0f} MB, plain {plain:.0f} MB ({where}): {less}")


def print_shares(base, settings: Settings, parts: list[str]) -> None:
    """What each saving alone takes off the plain loop."""
    makers = settings.makers(base, settings.share_scale)
    for name, habit in SAVINGS.items():
        makers[name] = partial(makers["plain"], replace(OBVIOUS, **{habit: False}))
    _, times = race(makers, parts, base.device)
    # Preparation is paid once, whatever the steps; a share of the steps would overstate it.
    totals = {
        name: sum(seconds for part, seconds in by_part.items() if part != "prepare")
        for name, by_part in times.items()
    }
    gain = totals["plain"] - totals["engine"]
    steps = settings.plan(settings.share_scale).steps
    both = f"plain {totals['plain']:.1f} s, engine {totals['engine']:.1f} s"
    print(f"\neach saving alone, steps only, {steps} steps ({both})")
    for name in SAVINGS:
        saved = totals["plain"] - totals[name]
        share = 100 * saved / gain if gain else 0
        print(f"  {name:36s} {saved:+7.2f} s   {share:5.0f} % of the difference")


# ---------------------------------------------------------------- all of it


def enlarged(concept: Concept, side: int, folder: Path) -> None:
    """The concept's pictures as JPEG photos of ``side`` pixels, as a camera would leave them."""
    for number, image in enumerate(concept.images):
        large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        large.save(folder / f"{number:02d}.jpg", quality=92)


def compare(settings: Settings, rounds: int) -> None:
    """Race both sides and print everything."""
    base = bundled_base(settings.device)
    makers = settings.makers(base, settings.scale)
    parts = ["prepare", *(s.name for s in settings.plan(settings.scale).stages)]
    precision = make_accelerator(base.device, settings.mixed_precision).mixed_precision
    print(f"{machine(base.device)}, the engine in {precision.replace('no', 'float32')}")
    timed = []
    for turn in range(rounds):
        runs, times = race(makers, parts, base.device, turn)
        timed.append(times)
        sums = ", ".join(f"{name} {sum(t.values()):.1f} s" for name, t in times.items())
        print(f"round {turn + 1}: {sums}", flush=True)
    print_race(timed, parts)
    print_results(runs, base)
    print_memory(settings)
    print_shares(base, settings, parts)


def main(
    rounds: Annotated[int, typer.Option(help="Whole runs of each side.")] = 3,
    scale: Annotated[float, typer.Option(help="Share of the recipe's steps.")] = 1.0,
    share_scale: Annotated[float, typer.Option(help="The same for each saving alone.")] = 0.1,
    memory_scale: Annotated[float, typer.Option(help="The same for the memory.")] = 0.05,
    concept: Annotated[str, typer.Option(help="A bundled concept.")] = "pico",
    photo_side: Annotated[
        int, typer.Option(help="Photos of so many pixels a side; 12 megapixels are 3464.")
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    mixed_precision: Annotated[str, typer.Option(help="Of the engine.")] = "auto",
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    told: Annotated[str, typer.Option("--child", hidden=True)] = "",
) -> None:
    """Race the engine against the plain loop."""
    if told:
        said = json.loads(told)
        side, settings = said.pop("side"), Settings(**said)
        torch.set_num_threads(settings.threads)
        child(side, settings)
        return
    torch.set_num_threads(threads)
    shares = (scale, share_scale, memory_scale)
    settings = Settings(concept, *shares, device, mixed_precision, threads)
    with tempfile.TemporaryDirectory() as folder:
        if photo_side:
            enlarged(Concept.bundled(concept), photo_side, Path(folder))
            settings = replace(settings, folder=folder)
        compare(settings, rounds)


if __name__ == "__main__":
    run_command(main, "whole_run")
