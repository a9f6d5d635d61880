"""How long a study takes, said before it starts.

Steps of training and pictures are what takes time. A recipe that has finished cells in the folder
takes as long as those did; for the others a few steps of each kind of stage, a few pictures and a
true picture are timed on this machine. Other programs that come and go are not foreseen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..concept import Concept
from ..learner import PRIOR_COUNT
from ..metrics.ceilings import true_rounds
from ..metrics.contrasts import Family
from ..metrics.significance import ALPHA
from ..personalization import Run
from ..recipes import Recipe, Stage, recipe as named
from ..recipes.stage import WEIGHTS
from .bench import TRUTH_SEED, Bench
from .cell import Cell, check_folder
from .plan import BASE, METHOD, OTHER, UNTRAINED, Plan
from .run import cells, check_concepts, clock
from .summary import PRIMARY

TIMED_STEPS = 3  # of each kind of stage; the first of them is slow, and not counted
TIMED_PICTURES = 4


class Kind(NamedTuple):
    """Of a stage: what decides how long one of its steps takes."""

    adapters: bool
    train: tuple[str, ...]
    batch: int
    losses: tuple[str, ...]

    @classmethod
    def of(cls, plan: Recipe, stage: Stage) -> Kind:
        losses = tuple(name for name in WEIGHTS if getattr(stage, name))
        return cls(plan.lora is not None, tuple(stage.train), stage.batch_size, losses)


@dataclass(frozen=True)
class Pace:
    """Of this machine, in seconds.

    Attributes:
        picture: one that is drawn and judged; truth: a true one; setup: before a training's first
            step; steps: one of each kind.
    """

    picture: float
    truth: float
    setup: float
    steps: Mapping[Kind, float]


# ---------------------------------------------------------------- what there is to do


def pictures(plan: Plan, row: str) -> int:
    """How many pictures a model draws in a cell of a recipe, or of an untrained row.

    Those that the base model draws once for each category, to find drift, are not among them.
    """
    one, spread = len(plan.prompts) * plan.images, 3 * plan.spread
    if row == BASE:
        return 2 * one + spread
    if row in UNTRAINED:
        return 0
    prior = PRIOR_COUNT if any(s.prior_weight for s in named(row).stages) else 0
    words = min(plan.word_prompts, len(plan.prompts))
    return (len(plan.marks(row)) + 1) * one + words + spread + plan.unrelated + prior


def truths(plan: Plan, work: Sequence[Cell]) -> int:
    """How many true pictures are drawn: each concept's again for each training seed."""
    rounds = {(cell.concept, cell.seed) for cell in work}
    strangers = sum(cell.recipe == OTHER for cell in work)
    return (len(rounds) * plan.truth + strangers) * len(plan.prompts)


def seconds_of(cell: Cell, plan: Plan, pace: Pace) -> float:
    """Of a cell, but for its true pictures."""
    drawn = pictures(plan, cell.recipe) * pace.picture
    if cell.recipe in UNTRAINED:
        return drawn
    trained = plan.long(cell.recipe, cell.rate)
    steps = sum(stage.steps * pace.steps[Kind.of(trained, stage)] for stage in trained.stages)
    return pace.setup + steps + drawn


# ---------------------------------------------------------------- timed


def timed(bench: Bench, concept: Concept, recipes: Sequence[str]) -> Pace:
    """The pace of this machine, measured with these recipes' stages."""
    steps, setups = {}, []
    for recipe in (bench.plan.long(name) for name in recipes):
        for stage in recipe.stages:
            kind = Kind.of(recipe, stage)
            if kind not in steps:
                steps[kind], setup = _timed_stage(bench, concept, recipe, stage)
                setups.append(setup)
    asks = [bench.plan.asks[k % len(bench.plan.asks)] for k in range(TIMED_PICTURES)]
    began = time.perf_counter()
    true_rounds(concept, asks, [TRUTH_SEED], bench.base)
    truth = (time.perf_counter() - began) / len(asks)
    setup = float(np.median(setups)) if setups else 0.0
    return Pace(_timed_picture(bench, concept), truth, setup, steps)


def _timed_stage(
    bench: Bench, concept: Concept, recipe: Recipe, stage: Stage
) -> tuple[float, float]:
    """Seconds of one step, and of all that comes before the first; without a prior's pictures."""
    plan = replace(recipe, stages=(replace(stage, steps=TIMED_STEPS),))
    began = time.perf_counter()
    each = [r.seconds for r in Run(bench.base, concept, plan, seed=0, watch=False)]
    setup = max(0.0, time.perf_counter() - began - sum(each))
    return float(np.median(each[1:])), 0.0 if stage.prior_weight else setup


def _timed_picture(bench: Bench, concept: Concept) -> float:
    prompts = bench.plainly(bench.base, concept, bench.plan.templates[:TIMED_PICTURES])
    bench.draw(bench.base, prompts[:1], [0])  # the first one loads what all need
    began = time.perf_counter()
    images = bench.draw(bench.base, prompts, [0])
    bench.judge.read(images), bench.judge.identity(images)  # noqa: B018
    return (time.perf_counter() - began) / len(prompts)


# ---------------------------------------------------------------- the forecast


@dataclass(frozen=True)
class Forecast:
    """Of one process on this machine.

    Attributes:
        count, there: cells of the study, and those that are finished.
        total, left: seconds of all of them, and of those that are not.
        pace: None where finished cells alone said it.
        family: what the comparison of the primary scores can find.
    """

    count: int
    there: int
    total: float
    left: float
    pace: Pace | None
    family: Family

    def lines(self) -> list[str]:
        """What is printed."""
        out = [
            f"{self.count} cells, {self.there} of them are there already: about "
            f"{clock(self.total)} in all, {clock(self.left)} left for one process"
        ]
        if self.pace:
            steps = sorted(self.pace.steps.values()) or [0.0]
            out.append(
                f"timed here: {self.pace.picture:.2f} s a picture, {steps[0]:.2f} to "
                f"{steps[-1]:.2f} s a training step"
            )
        if self.family.tests and self.family.least_p_holm > ALPHA:
            out.append(
                f"note: {self.family.tests} comparisons over {self.family.concepts} concepts "
                f"cannot reach a corrected p of {ALPHA:g}; take more concepts, or fewer recipes"
            )
        return out


def forecast(bench: Bench, folder: Path) -> Forecast:
    """How long the study takes that a bench's plan asks for, with what its folder holds of it.

    Raises:
        StudyError: the folder holds another model's results, or a concept cannot be measured.
    """
    plan, concepts = bench.plan, check_concepts(bench.plan)
    check_folder(folder, bench.known)
    work = cells(plan, folder)
    stored = [cell.stored(bench, concepts[cell.concept]) for cell in work]
    missing = [cell for cell, found in zip(work, stored, strict=True) if found is None]
    known: dict[str, list[float]] = {}
    for cell, found in zip(work, stored, strict=True):
        if found is not None:  # one that was interrupted knows the clock of its last part alone
            took = max(found["seconds"], found.get("training_seconds", 0.0))
            known.setdefault(cell.recipe, []).append(took)
    means = {name: float(np.mean(took)) for name, took in known.items()}
    unknown = [name for name in (BASE, *plan.recipes) if name not in means]
    pace = None
    if missing and unknown:
        trained = [name for name in unknown if name not in UNTRAINED]
        pace = timed(bench, concepts[plan.concepts[0]], trained)
    total = left = 0.0
    if pace:
        total, left = (truths(plan, some) * pace.truth for some in (work, missing))
    for cell, found in zip(work, stored, strict=True):
        took = means.get(cell.recipe)
        if took is None:
            took = seconds_of(cell, plan, pace) if pace else 0.0
        total += took
        left += took if found is None else 0.0
    others = len(plan.recipes) - 1 if METHOD in plan.recipes else 0
    family = Family.sized(others * len(PRIMARY), len(plan.concepts))
    return Forecast(len(work), len(work) - len(missing), total, left, pace, family)
