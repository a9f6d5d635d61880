"""All cells of a study, one after the other; several processes may share the work.

A cell that another process is making is put off and asked for again later: each is made once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, sleep

from ..concept import Concept
from ..lora import check_peft
from ..recipes import recipe as named
from ..system.locks import Busy
from .bench import Bench
from .cell import Cell, check_folder, claim_folder
from .plan import UNTRAINED, Plan, StudyError

WAIT = 2.0  # seconds between two looks at a cell that another process is making


def cells(plan: Plan, folder: Path) -> list[Cell]:
    """Every cell: concept by concept and seed by seed, so that a stopped study is balanced."""
    found = []
    for number, seed in enumerate(plan.seeds):
        for concept in plan.concepts:
            if number == 0:  # what nobody trains does not depend on a training's seed
                found += [Cell(row, concept, seed, folder) for row in UNTRAINED]
            pairs = itertools.product(plan.recipes, plan.rates)
            found += [Cell(row, concept, seed, folder, rate) for row, rate in pairs]
    return found


def check_concepts(plan: Plan) -> dict[str, Concept]:
    """The concepts, by name.

    Raises:
        StudyError: one has no truth, or no masks where a recipe is shown them.
        TrainingError: a recipe trains adapters, and peft is not installed.
    """
    adapted = [recipe for recipe in plan.recipes if named(recipe).lora is not None]
    if adapted:
        check_peft(f"recipe {adapted[0]!r}")
    concepts = {name: Concept.bundled(name) for name in plan.concepts}
    for name, concept in concepts.items():
        if "instance" not in concept.info:
            raise StudyError(
                f"the truth about concept {name!r} is not known, so it has no ceiling: choose one "
                "that the toy world has drawn"
            )
        shown = [recipe for recipe in plan.recipes if named(recipe).needs_masks]
        if not concept.masks and shown:
            raise StudyError(
                f"concept {name!r} has no masks, which recipe {shown[0]!r} is shown: leave out "
                "one of them"
            )
    return concepts


def clock(seconds: float) -> str:
    """A duration as people say it: "48 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _left(trained: Sequence[float], trainings: int) -> str:
    """How long the trainings that are left will take; nothing before the first one."""
    if not trained:
        return ""
    return f"; about {clock(sum(trained) / len(trained) * trainings)} left"


def finished(bench: Bench, folder: Path) -> Iterator[tuple[Cell, dict]]:
    """The cells that are there already, with their numbers; none is made.

    Raises:
        StudyError: the folder holds another model's results, or a concept cannot be measured.
    """
    concepts = check_concepts(bench.plan)
    check_folder(folder, bench.known)
    for cell in cells(bench.plan, folder):
        found = cell.stored(bench, concepts[cell.concept])
        if found is not None:
            yield cell, found


def _waiting(count: int) -> str:
    """What whoever has nothing left to do says of the cells that others are at."""
    return f"waiting for {count} {'cell' if count == 1 else 'cells'} that another process is making"


def run_study(
    bench: Bench, folder: Path, say: Callable[[str], None] = print
) -> Iterator[tuple[Cell, dict]]:
    """Make every cell that is missing; yields each cell with its numbers, in the order of work.

    Raises:
        StudyError: the folder holds another model's results, or a concept cannot be measured.
        DiskFull: no space left; what was made stays.
    """
    plan = bench.plan
    concepts = check_concepts(plan)
    claim_folder(folder, bench.known)
    work = cells(plan, folder)
    missing = sum(c.stored(bench, concepts[c.concept]) is None for c in work)
    if missing:
        say(f"{missing} of {len(work)} cells are to be made")
    trained: list[float] = []  # seconds of each training that this process made
    busy, number, told = list(work), 0, False
    left = sum(cell.recipe not in UNTRAINED for cell in work)  # trainings: the rest takes no time
    while busy:
        waiting = []
        for cell in busy:
            concept = concepts[cell.concept]
            known = cell.stored(bench, concept)
            start = perf_counter()
            try:
                numbers = known or cell.make(bench, concept)
            except Busy:
                waiting.append(cell)
                continue
            number += 1
            left -= cell.recipe not in UNTRAINED
            if known is None:
                took = perf_counter() - start
                trained += [took] if cell.recipe not in UNTRAINED else []
                text = f"cell {number} of {len(work)}: {cell}: {clock(took)}"
                say(text + _left(trained, left))
            yield cell, numbers
        if len(waiting) == len(busy):  # others are at work on all that is left
            if not told:
                say(_waiting(len(busy)))
            told = True
            sleep(WAIT)
        busy = waiting
