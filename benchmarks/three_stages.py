"""How long the three stages take: median of five whole runs without previews.

    python benchmarks/three_stages.py [--runs 5] [--recipe attndreambooth] [--threads 2]

Loading the model is not counted; preparing the concept (augmenting, encoding) is. Bar: 60 s.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Annotated

import torch
import typer
from timing import bundled_base, clock, machine, verdict

from adb_core.concept import Concept
from adb_core.personalization import personalize
from adb_core.system.commands import run_command

BAR = 60.0  # seconds, two CPU cores


def main(
    runs: Annotated[int, typer.Option(help="How many; their median counts.")] = 5,
    concept: Annotated[str, typer.Option(help="A bundled concept.")] = "pico",
    recipe: Annotated[str, typer.Option(help="Of the tiny preset.")] = "attndreambooth",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Time whole runs of a recipe."""
    torch.set_num_threads(threads)
    base, pictures = bundled_base(device), Concept.bundled(concept)
    print(machine(base.device))
    times = []
    for number in range(runs):
        results = []
        action = partial(personalize, base, pictures, recipe)
        times.append(clock(lambda: results.append(action()), base.device))  # noqa: B023
        stages: dict[str, float] = {}
        for record in results[0].history:
            stages[record.stage] = stages.get(record.stage, 0.0) + record.seconds
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items())
        rest = times[-1] - sum(stages.values())
        print(f"run {number + 1}: {times[-1]:6.1f} s ({parts}, the rest {rest:.1f})", flush=True)
    middle = statistics.median(times)
    print(f"median {middle:.1f} s ({min(times):.1f} to {max(times):.1f}): {verdict(middle, BAR)} s")


if __name__ == "__main__":
    run_command(main, "three_stages")
