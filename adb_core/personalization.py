"""Running a recipe from beginning to end: iterate a :class:`Run` and get every step's record."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .base import Base
from .checkpoint import (
    CHECKPOINT,
    HISTORY,
    Progress,
    check_identity,
    identity,
    load_checkpoint,
    load_history,
    read_header,
    save_checkpoint,
)
from .concept import Concept
from .engine import make_accelerator
from .fallback import TieredStage, as_left
from .learner import Learner, check_finite
from .options import RunOptions, chosen
from .recipes import Recipe, recipe as named_recipe
from .records import StepRecord, write_history
from .result import Result
from .sharding import gather, is_spread
from .system.files import sweep
from .system.interrupts import deferred_interrupt
from .system.memory import memory_text
from .trackers import tracking
from .training import batch_parts, micro_batches


class Run:
    """A recipe on its way over a base model and a concept.

    Iterating it trains, and yields the record of every step of every stage that is left::

        run = adb.Run(base, concept, "attndreambooth", out="out/pico")
        for record in run:
            print(record.stage, record.step, record.loss)
            if record.loss < 0.01:
                break
        pictures = adb.generate(run.result, "a photo of a {}").images

    Whoever iterates plots, logs, draws and stops. In the loop's body the learner is in order; with
    the last record of a stage (``record.is_last``) the stage is closed. A loop that is left early
    saves itself, and another loop goes on where it was. Ctrl-C waits for the end of the step.

    Args:
        recipe: a :class:`adb_core.Recipe`, or the name of one, of the options' preset.
        options: a :class:`adb_core.RunOptions`; changes: some of its fields, by name.

    Attributes:
        plan: the recipe; learner: what is being trained; result: that, to draw with and to save,
            and the history so far.
        at: where it stands, after a checkpoint in ``options.out`` if there is one.

    Raises:
        CheckpointError: ``out`` holds another run's checkpoint.
        TrainingError: a batch that does not divide, a base model in half precision; while it
            runs, the loss or a weight became NaN: the last good checkpoint stays.
        KeyboardInterrupt: while it runs, after saving; the same run resumes.
    """

    def __init__(
        self,
        base: Base,
        concept: Concept,
        recipe: str | Recipe = "attndreambooth",
        options: RunOptions | None = None,
        **changes: Any,
    ):
        options = chosen(options, changes)
        plan = named_recipe(recipe, options.preset) if isinstance(recipe, str) else recipe
        accelerator = options.accelerator or make_accelerator(base.device)
        processes = accelerator.num_processes
        for stage in plan.stages:
            batch_parts(stage, processes, micro_batches(stage, processes, options))
        self.options = replace(options, accelerator=accelerator)
        self.plan, self.accelerator = plan, accelerator
        self.folder = None if options.out is None else Path(options.out)
        resuming = self._find_checkpoint(base, concept)
        if resuming:  # in the tier that memory has brought it down to
            self.options = as_left(self.options, read_header(self._path).get("tier"), base)
        self.learner = Learner(base, concept, plan, self.options)
        self.result = Result(self.learner)
        self.at, self._saved = Progress(0, 0), Progress(0, 0)
        self._optimizer: torch.optim.AdamW | None = None
        if resuming:
            self._load()

    @property
    def _path(self) -> Path:
        assert self.folder is not None
        return self.folder / CHECKPOINT

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.at.stage == len(self.plan.stages)

    def __iter__(self) -> Iterator[StepRecord]:
        with tracking(self.learner) as track:
            try:
                while not self.finished:
                    with closing(self._stage()) as records:
                        for record in records:
                            track(record)
                            yield record
            except GeneratorExit:  # the loop was left
                self._save_unsaved()
                raise

    def finish(self) -> Result:
        """Train what is left; returns the result."""
        for _ in self:
            pass
        return self.result

    # ------------------------------------------------------------ one stage

    def _stage(self) -> Generator[StepRecord, None, None]:
        """The records of the stage at hand; what is due is saved before each is handed out."""
        from tqdm.auto import tqdm

        stage, number, start = self.plan.stages[self.at.stage], self.at.stage, self.at.step
        bar = tqdm(
            total=stage.steps,
            initial=start,
            desc=stage.name,
            unit="step",
            disable=not self.options.progress,
        )
        tiered = TieredStage(self.learner, stage, self._optimizer, start, say=bar.write)
        with closing(bar), closing(tiered.records()) as steps:
            for step in range(start + 1, stage.steps + 1):
                with deferred_interrupt() as interrupted:
                    record, self._optimizer = next(steps), tiered.optimizer
                    if record.is_last:  # between stages nothing is open, and moments start afresh
                        steps.close()
                        self._optimizer = tiered.optimizer = None
                        gather(self.learner)
                    last = record.is_last
                    self.at = Progress(number + 1, 0) if last else Progress(number, step)
                    self.result.history += (record,)
                    if last or step % self.options.save_every == 0 or interrupted():
                        self._save_unsaved()
                bar.update()
                held = memory_text(self.learner.base.device)
                bar.set_postfix(loss=f"{record.loss:.3f}", memory=held, refresh=False)
                if record.is_last:
                    bar.close()  # before whoever iterates draws bars of their own
                if interrupted():
                    raise KeyboardInterrupt
                yield record

    # ------------------------------------------------------------ checkpoints

    def _find_checkpoint(self, base: Base, concept: Concept) -> bool:
        """Whether there is a checkpoint to go on from; refused before anything is encoded."""
        if self.folder is None:
            return False
        if self.accelerator.is_main_process:
            sweep(self.folder)
        path = self._path
        if not self.options.resume or not path.exists():
            return False
        precision = self.accelerator.mixed_precision
        mine = identity(base.fingerprint(), concept, self.plan, self.options, precision)
        check_identity(path, read_header(path), mine)
        return True

    def _load(self) -> None:
        path = self._path
        self.at, self._optimizer = load_checkpoint(path, self.learner)
        self._saved = self.at
        self.result.history = tuple(load_history(path.parent, self.at, self.plan))
        scaler = read_header(path)["scaler"]
        if scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(scaler)

    def save(self) -> Path:
        """Write checkpoint and history now.

        Raises:
            ValueError: the run has no folder.
            TrainingError: a weight is no number; the earlier checkpoint stays.
            DiskFull: no space left; the earlier checkpoint stays.
        """
        if self.folder is None:
            raise ValueError("this run has no folder: give it one with out=")
        path, scaler = self._path, self.accelerator.scaler
        is_main = self.accelerator.is_main_process
        if is_main or is_spread(self.learner.unet):  # whose shares lie in all processes
            trained = self.at.stage if self.at.step else max(0, self.at.stage - 1)
            check_finite(self.learner, self.plan.stages[trained])
            if is_main:  # first: a checkpoint never outruns its history
                write_history(self.folder / HISTORY, self.result.history)
            state = None if scaler is None else scaler.state_dict()
            save_checkpoint(path, self.learner, self.at, self._optimizer, state)
        self._saved = self.at
        return path

    def _save_unsaved(self) -> None:
        if self.folder is not None and self._saved != self.at:
            self.save()


def personalize(
    base: Base,
    concept: Concept,
    recipe: str | Recipe = "attndreambooth",
    options: RunOptions | None = None,
    **changes: Any,
) -> Result:
    """Run a recipe to its end: the short form of :class:`Run`, whose arguments it takes.

    Raises:
        CheckpointError, TrainingError, KeyboardInterrupt: as :class:`Run`.
    """
    return Run(base, concept, recipe, options, **changes).finish()
