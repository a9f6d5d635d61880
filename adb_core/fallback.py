"""Where memory runs out, a stage goes on from its last step one tier down (see :mod:`.tiers`)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

import torch

from . import tiers
from .base import Base
from .engine import TrainingError
from .learner import Learner
from .optimizers import make_optimizer, steps_taken
from .options import RunOptions
from .recipes import Stage
from .records import StepRecord
from .sharding import spread
from .system.commands import one_line
from .system.memory import is_out_of_memory, release_memory
from .training import train_stage


class TieredStage:
    """A stage on its way.

    Args:
        optimizer: of the stage, to go on from a checkpoint at step ``start``.
        say: told in one line when a tier is left.

    Attributes:
        optimizer: the one at work; None before the first step, and once it is closed.
    """

    def __init__(
        self,
        learner: Learner,
        stage: Stage,
        optimizer: torch.optim.AdamW | None = None,
        start: int = 0,
        say: Callable[[str], None] = print,
    ):
        self.learner, self.stage, self.optimizer = learner, stage, optimizer
        self.start, self.say = start, say

    def records(self) -> Generator[StepRecord, None, None]:
        """What :func:`train_stage` yields.

        Raises:
            TrainingError: memory ran out and there is no tier below, or several processes train.
        """
        step = self.start
        while True:
            try:
                self.optimizer = spread(self.learner, self.stage, self.optimizer)
                self.optimizer = self.optimizer or make_optimizer(self.learner, self.stage)
                steps = train_stage(self.learner, self.stage, optimizer=self.optimizer, start=step)
                with closing(steps):
                    for record in steps:
                        step = record.step
                        yield record
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = one_line(error).split(". ")[0]
            # only here is the error gone, and with it the tensors that its frames held
            self._step_down(step, reason)

    def _step_down(self, step: int, reason: str) -> None:
        release_memory()
        if (scaler := self.learner.accelerator.scaler) is not None:
            scaler.update(scaler.get_scale())  # forgets the step that it had begun
        learner, at = self.learner, f"at step {step + 1} of stage {self.stage.name!r} ({reason})"
        self._check_whole(step, at)
        if learner.accelerator.num_processes > 1:
            raise TrainingError(
                f"memory ran out {at} in process {learner.accelerator.process_index} of "
                f"{learner.accelerator.num_processes}: start again with a narrower --tier"
            )
        former = learner.options.tier
        tier = None if former is None else tiers.narrower(former)
        if tier is None:
            below = "no tier is set" if former is None else f"no tier is below {former}"
            raise TrainingError(
                f"memory ran out {at}, and {below}: train at a lower resolution, fewer weights "
                "(LoRA), in smaller micro-batches, or with gradient checkpointing"
            )
        if step == 0:  # a stage keeps the optimizer that it began with
            self.optimizer = None
        size = tiers.model_size(learner.base, learner.options.resolution)
        learner.options = tiers.fitted(learner.options, tier, size, learner.base.device)
        self.say(
            f"memory ran out {at}: tier {former} -> {tier.name} "
            f"({tiers.describe(tier, size, learner.options.optimizer)}), going on after step {step}"
        )

    def _check_whole(self, step: int, at: str) -> None:
        """No parameter may have been updated by a step that others have not taken.

        fp16's scaler leaves steps out, so that the counts say nothing there.
        """
        if self.optimizer is None or self.learner.accelerator.scaler is not None:
            return
        if steps_taken(self.optimizer) - {step}:
            raise TrainingError(
                f"memory ran out {at} in the middle of an update: run the same command again, "
                "which goes on from the last checkpoint"
            )


def as_left(options: RunOptions, tier: str | None, base: Base) -> RunOptions:
    """Options of a run that goes on: in the tier that it had come down to, if that is narrower."""
    if not tiers.is_narrower(tier, options.tier):
        return options
    size = tiers.model_size(base, options.resolution)
    return tiers.fitted(options, tiers.TIERS[str(tier)], size, base.device)
