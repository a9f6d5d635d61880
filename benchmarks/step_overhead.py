"""What capture and regularizer cost: a training step with them against the same step without.

    python benchmarks/step_overhead.py [--steps 30] [--concept pico] [--threads 2]

Both sides are the real engine, step by step in turn, in one process. Bar: 1.10x in every stage.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace

import torch
from timing import bundled_base, interleave, machine, ratio, verdict

from adb_core.concept import Concept
from adb_core.learner import Learner
from adb_core.recipes import recipe
from adb_core.training import train_stage

BAR, WARMUP = 1.10, 3


def sides(base, concept: Concept, plan, number: int, steps: int) -> dict[str, Learner]:
    """Two learners of one stage: with the regularizer, and without it and without looking."""
    stage = replace(plan.stages[number], steps=steps)
    quiet = replace(stage, lambda_mu=0.0, lambda_sigma=0.0)
    return {
        "with": Learner(base, concept, replace(plan, stages=(stage,))),
        "without": Learner(base, concept, replace(plan, stages=(quiet,)), watch=False),
    }


def measure(
    base, concept: Concept, plan, number: int, rounds: int
) -> tuple[dict[str, list[float]], str]:
    learners = sides(base, concept, plan, number, rounds + WARMUP)
    with (
        closing(train_stage(learners["with"], learners["with"].recipe.stages[0])) as one,
        closing(train_stage(learners["without"], learners["without"].recipe.stages[0])) as other,
    ):
        times = interleave(
            {"with": lambda: next(one), "without": lambda: next(other)}, rounds, base.device, WARMUP
        )
    return times, plan.stages[number].name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--concept", default="pico")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base, plan = bundled_base(args.device), recipe("attndreambooth")
    concept = Concept.bundled(args.concept)
    print(machine(base.device))
    for number in range(len(plan.stages)):
        times, name = measure(base, concept, plan, number, args.steps)
        found = ratio(times["with"], times["without"])
        print(
            f"stage {number + 1} ({name:9s})  without {1000 * sorted(times['without'])[args.steps // 2]:7.1f} ms a step, "
            f"with {found}: {verdict(found.median, BAR)}"
        )


if __name__ == "__main__":
    main()
