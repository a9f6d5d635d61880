"""Training steps of one checkout, one for each line that comes in: compare_checkouts.py runs two.

    python benchmarks/lockstep.py STEPS

For each stage it prints "stage N", then, whenever a line arrives on standard input, takes a step
without regularizer and prints its milliseconds. It runs in any checkout of this repository.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing

import step_overhead
import torch
from timing import bundled_base

from adb_core.concept import Concept
from adb_core.recipes import recipe
from adb_core.training import train_stage

WARMUP = 3


def main() -> None:
    steps = int(sys.argv[1]) + WARMUP
    torch.set_num_threads(1)
    base, plan = bundled_base("cpu"), recipe("attndreambooth")
    first_house = hasattr(step_overhead, "sides")  # there the loop itself was told not to look
    make = step_overhead.sides if first_house else step_overhead.learners
    for number in range(len(plan.stages)):
        learner = make(base, Concept.bundled("pico"), plan, number, steps)["without"]
        options = {"watch": False} if first_house else {}
        print(f"stage {number + 1}", flush=True)
        with closing(train_stage(learner, learner.recipe.stages[0], **options)) as training:
            for _ in range(steps):
                sys.stdin.readline()
                began = time.perf_counter()
                next(training)
                print(1000 * (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
