"""A run's numbers for the accelerator's trackers, as TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean

from .learner import Learner
from .records import SERIES, StepRecord
from .system.memory import memory_in_use

TRACKED = ("loss", "diffusion", "mean_part", "var_part", "prior", "grad_norm", "lr", "seconds")


@contextmanager
def tracking(learner: Learner) -> Iterator[Callable[[StepRecord], None]]:
    """Within, what it yields sends a record to the accelerator's trackers, if there are any.

    Steps are counted over all stages; every number is named ``stage/number``.
    """
    accelerator, plan = learner.accelerator, learner.recipe
    if not accelerator.log_with:
        yield lambda record: None
        return
    before, steps = {}, 0
    for stage in plan.stages:
        before[stage.name], steps = steps, steps + stage.steps
    facts = {
        "concept": learner.concept.name,
        "recipe": plan.name,
        "base": learner.base.name,
        "seed": learner.seed,
    }
    accelerator.init_trackers("adb", facts)

    def track(record: StepRecord) -> None:
        numbers = numbers_of(record) | {"memory_gib": memory_in_use(learner.base.device)}
        named = {f"{record.stage}/{name}": value for name, value in numbers.items()}
        accelerator.log(named, step=before[record.stage] + record.step)

    try:
        yield track
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def numbers_of(record: StepRecord) -> dict[str, float]:
    """A record's numbers by name; the statistics of maps as their mean over the layers."""
    numbers = {name: getattr(record, name) for name in TRACKED} | dict(record.further)
    return numbers | {name: fmean(values) for name in SERIES if (values := getattr(record, name))}
