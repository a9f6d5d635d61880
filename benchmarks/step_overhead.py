"""What capture and regularizer cost: a training step with them against the same step without.

    python benchmarks/step_overhead.py [--steps 30] [--concept pico] [--threads 2]

Both sides are the real engine, step by step in turn, in one process. Bar: 1.10x in every stage.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
import typer
from timing import bundled_base, interleave, machine, ratio, verdict

from adb_core.concept import Concept
from adb_core.learner import Learner
from adb_core.recipes import recipe
from adb_core.system.commands import run_command
from adb_core.training import train_stage

BAR, WARMUP = 1.10, 3


def learners(base, concept: Concept, plan, number: int, steps: int) -> dict[str, Learner]:
    """Two learners of one stage: with the regularizer, and without it and without looking."""
    stage = replace(plan.stages[number], steps=steps)
    quiet = replace(stage, lambda_mu=0.0, lambda_sigma=0.0)
    return {
        "with": Learner(base, concept, replace(plan, stages=(stage,))),
        "without": Learner(base, concept, replace(plan, stages=(quiet,)), watch=False),
    }


def measure(base, concept: Concept, plan, number: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step on both sides."""
    with ExitStack() as stack:
        sides = {}
        for name, learner in learners(base, concept, plan, number, rounds + WARMUP).items():
            steps = train_stage(learner, learner.recipe.stages[0])
            stack.enter_context(closing(steps))
            sides[name] = partial(next, steps)
        return interleave(sides, rounds, base.device, WARMUP)


def main(
    steps: Annotated[int, typer.Option(help="Timed steps of each stage.")] = 30,
    concept: Annotated[str, typer.Option(help="A bundled concept.")] = "pico",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Time steps with and without capture and regularizer."""
    torch.set_num_threads(threads)
    base, plan = bundled_base(device), recipe("attndreambooth")
    pictures = Concept.bundled(concept)
    print(machine(base.device))
    for number, stage in enumerate(plan.stages):
        times = measure(base, pictures, plan, number, steps)
        found = ratio(times["with"], times["without"])
        middle = 1000 * sorted(times["without"])[steps // 2]
        print(
            f"stage {number + 1} ({stage.name:9s})  without {middle:7.1f} ms a step, "
            f"with {found}: {verdict(found.median, BAR)}"
        )


if __name__ == "__main__":
    run_command(main, "step_overhead")
