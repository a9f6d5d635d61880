"""How long the three stages take: median of five whole runs without previews.

    python benchmarks/three_stages.py [--runs 5] [--recipe attndreambooth] [--threads 2]

Loading the model is not counted; preparing the concept (augmenting, encoding) is. Bar: 60 s.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from timing import bundled_base, clock, machine, verdict

from adb_core.concept import Concept
from adb_core.personalization import Run
from adb_core.recipes import RECIPES

BAR = 60.0  # seconds, two CPU cores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--concept", default="pico")
    parser.add_argument("--recipe", choices=RECIPES, default="attndreambooth")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base, concept = bundled_base(args.device), Concept.bundled(args.concept)
    print(machine(base.device))
    times = []
    for number in range(args.runs):
        stages: dict[str, float] = {}

        def whole(stages=stages):
            for record in Run(base, concept, args.recipe):
                stages[record.stage] = stages.get(record.stage, 0.0) + record.seconds

        times.append(clock(whole, base.device))
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items())
        print(
            f"run {number + 1}: {times[-1]:6.1f} s ({parts}, the rest {times[-1] - sum(stages.values()):.1f})",
            flush=True,
        )
    middle = statistics.median(times)
    print(f"median {middle:.1f} s ({min(times):.1f} to {max(times):.1f}): {verdict(middle, BAR)} s")


if __name__ == "__main__":
    main()
