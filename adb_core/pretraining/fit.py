"""The one training loop of the tiny model's pretraining: budgeted, resumable, kill-safe.

Every stage (VAE, CLIP, judge, U-Net) is a :class:`Fit` and a ``loss_fn``. The loop owns
optimizer, schedule, EMA, precision, checkpoints and the log. All randomness of a step comes
from (seed, stage, step), so a run that was killed and resumed ends with the same bits as one
that never stopped.

In ``run_dir/<name>/``:
    checkpoint.safetensors  modules, EMA and optimizer; the state as JSON in its header. One
                            file, so one rename replaces all of it or none
    plan.json               how many steps the budget buys, fixed after timing the first ones
    history.csv             step, seconds, loss, extras: one row about every 10 s
    final.safetensors, done.json   a finished stage
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..system.files import atomic_write_bytes, atomic_write_json, sweep
from ..system.interrupts import deferred_interrupt
from ..tinymodel.precision import autocast
from .ema import Ema
from .finished import FitReport, load_finished, write_finished
from .journal import Extras, Journal, numbers
from .optimizers import Optimizers
from .randomness import step_rng
from .settings import Budget, Fit, FitError, Place, can_go_on, lr_factor, warmup_steps
from .stage_files import (
    Modules,
    load_modules,
    log_line,
    module_tensors,
    other_settings,
    pack,
    part,
    settings_hash,
    unpack,
)

WARM_STEPS = 5  # not timed: the first steps pay for allocation and kernel selection
TIMED_STEPS = 20  # timed, to learn how many steps the minutes buy
SAVE_EVERY = 60.0  # seconds between checkpoints: what a kill may cost
LOG_EVERY = 10.0  # seconds between log lines

LossFn = Callable[[int, np.random.Generator], "tuple[Tensor, Extras]"]
OnLog = Callable[[int, "Ema | None"], None]


def fit(
    settings: Fit,
    modules: Modules,
    loss_fn: LossFn,
    *,
    place: Place,
    budget: Budget,
    on_log: OnLog | None = None,
    progress: bool = True,
) -> FitReport:
    """Train ``modules`` on ``loss_fn`` for a budget; resume if the run was stopped.

    Args:
        modules: trained in place (parameters with ``requires_grad``); at the end they hold the
            averaged weights if ``settings.ema``, and are in eval mode.
        loss_fn: ``(step, rng) -> (scalar loss, extras to log)``, run under autocast. Draw all
            randomness from ``rng`` (torch noise through :func:`.randomness.torch_generator`).
        on_log: called about every 10 s with (step, ema), e.g. to draw previews.

    Raises:
        FitError: other settings in the folder, damaged files, or a loss that is not finite.
        DiskFull: the last checkpoint stays intact.
        SystemExit: Ctrl-C or SIGTERM, after saving.
    """
    folder = Path(place.run_dir) / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    if (folder / "done.json").exists():
        return load_finished(settings, modules, place, budget)
    return _Run(settings, modules, loss_fn, place, budget, on_log, progress).run()


class _Run:
    """One call of :func:`fit`: holds the state that its parts share."""

    def __init__(
        self,
        settings: Fit,
        modules: Modules,
        loss_fn: LossFn,
        place: Place,
        budget: Budget,
        on_log: OnLog | None,
        progress: bool,
    ) -> None:
        self.settings, self.modules, self.loss_fn = settings, modules, loss_fn
        self.place, self.budget, self.on_log, self.progress = place, budget, on_log, progress
        self.device = torch.device(place.device)
        self.folder = Path(place.run_dir) / settings.name
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.hash = settings_hash(settings, modules, place.seed)
        self.warmup = warmup_steps(settings, budget)
        self.step, self.total, self.seconds = 0, budget.steps, 0.0
        self.journal = Journal(self.folder / "history.csv")

    # ---- start

    def run(self) -> FitReport:
        for module in self.modules.values():
            module.to(self.device).train()
        chosen = self.settings
        self.optimizer = Optimizers(
            self.modules.values(),
            lr=chosen.lr,
            betas=chosen.betas,
            weight_decay=chosen.weight_decay,
            muon_lr=chosen.muon_lr,
        )
        self.ema = Ema(self.modules, chosen.ema) if chosen.ema else None
        self._resume()
        self._loop()
        return self._finish()

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            self._log("start")
            return
        tensors, state = unpack(self.checkpoint)
        if state["hash"] != self.hash:
            raise FitError(other_settings(self.folder, "other settings"))
        if state["budget"] != asdict(self.budget):
            before = Budget(**state["budget"])
            if not can_go_on(self.settings, state["step"], before, self.budget):
                raise FitError(other_settings(self.folder, f"another budget ({before})"))
            state["total"] = self.budget.steps
        load_modules(self.modules, part(tensors, "modules/"), self.checkpoint)
        self.optimizer.load(part(tensors, "optimizer/"))
        if self.ema:
            self.ema.load(part(tensors, "ema/"))
        self.step, self.total, self.seconds = state["step"], state["total"], state["seconds"]
        self.journal.rows = state["history"]
        self.journal.write()
        self._log(f"resumed at step {self.step} of {self.total or '?'}")

    # ---- go

    def _loop(self) -> None:
        from tqdm.auto import tqdm

        self.started = time.monotonic() - self.seconds
        self.saved = self.logged = time.monotonic()
        self.logged_step = self.step
        with (
            deferred_interrupt(signal.SIGTERM) as asked_to_stop,
            tqdm(
                total=self.total,
                initial=self.step,
                desc=self.settings.name,
                unit="step",
                disable=not self.progress,
                mininterval=1.0,
            ) as self.bar,
        ):
            while self.total is None or self.step < self.total:
                self._one_step()
                self._plan_if_timed()
                self._log_and_save_if_due()
                if asked_to_stop():
                    self._save()
                    raise SystemExit(
                        f"{self.settings.name}: stopped at step {self.step} of {self.total or '?'} "
                        f"and saved in {self.folder}; the same command resumes"
                    )
            self._flush()

    def _one_step(self) -> None:
        rng = step_rng(self.place.seed, self.settings.name, self.step)
        torch.manual_seed(int(rng.integers(2**63 - 1)))  # for dropout and the like
        with autocast(self.device, self.place.bf16):
            loss, extras = self.loss_fn(self.step, rng)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.optimizer.parameters, self.settings.clip, foreach=True)
        self.optimizer.step(lr_factor(self.settings, self.step, self.total, self.warmup))
        if self.ema:
            self.ema.update(self.step)
        self.step += 1
        self.journal.add(loss, norm, extras)
        self.bar.update(1)

    def _plan_if_timed(self) -> None:
        """After the timed steps, fix for good how many steps the minutes buy."""
        if self.total is not None:
            return
        minutes = self.budget.minutes
        if self.step == WARM_STEPS:
            self._synchronize()
            self.timer = time.monotonic()
        if self.step == WARM_STEPS + TIMED_STEPS:
            self._synchronize()
            per_step = (time.monotonic() - self.timer) / TIMED_STEPS
            left = minutes * 60 - (time.monotonic() - self.started)
            self.total = max(self.step, self.step + int(left / per_step))
            # The checkpoint first: its own total is what a resumed run obeys.
            self._flush()
            self._save()
            plan = {
                "steps": self.total,
                "minutes": minutes,
                "seconds_per_step": per_step,
                "samples_per_second": self.settings.batch / per_step,
            }
            atomic_write_json(self.folder / "plan.json", plan)
            self.bar.total = self.total
            self._log(f"{minutes:g} min buy {self.total} steps at {per_step:.3f} s")

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _log_and_save_if_due(self) -> None:
        now = time.monotonic()
        if now - self.logged < LOG_EVERY and now - self.saved < SAVE_EVERY:
            return
        if self.total is None:  # nothing is saved before the plan is made
            return
        self._flush()
        if now - self.saved >= SAVE_EVERY:
            self._save()
        if self.on_log:
            self.on_log(self.step, self.ema)

    def _flush(self) -> None:
        """Read the losses since the last time: check that they are finite, log their means."""
        if not self.journal:
            return
        self._check_finite()
        self.seconds = time.monotonic() - self.started
        row = self.journal.close_row(self.step, self.seconds)
        samples = (self.step - self.logged_step) * self.settings.batch
        rate = samples / max(1e-9, time.monotonic() - self.logged)
        self.logged, self.logged_step = time.monotonic(), self.step
        shown = {"loss": f"{row['loss']:.4f}", "samples/s": f"{rate:.0f}"}
        self.bar.set_postfix(shown, refresh=False)
        said = " ".join(f"{k}={v:.4g}" for k, v in numbers(row).items())
        self._log(f"step {self.step}/{self.total} {self.seconds:.0f}s {said} {rate:.0f} samples/s")

    def _check_finite(self) -> None:
        ago = self.journal.first_bad()
        if ago is None:
            return
        there = self.checkpoint.exists()
        kept = "the last good checkpoint is kept" if there else "nothing was saved"
        raise FitError(
            f"{self.settings.name}: the loss is not finite at step {self.step - ago}; {kept} in "
            f"{self.folder}. Lower the learning rate or train in float32"
        )

    # ---- stop

    def _finish(self) -> FitReport:
        if self.ema:
            final = self.ema.tensors()
            load_modules(self.modules, final, self.folder / "final.safetensors")
        for module in self.modules.values():
            module.eval()
        row = self.journal.rows[-1] if self.journal.rows else {}
        report = FitReport(self.settings.name, self.step, round(self.seconds, 1), numbers(row))
        write_finished(report, self.settings, self.modules, self.place, self.budget)
        self.checkpoint.unlink(missing_ok=True)
        self._log(f"done, {report.steps} steps in {report.seconds:.0f} s")
        return report

    def _save(self) -> None:
        """Write the checkpoint; first make sure that nothing in it is the child of a NaN."""
        self._flush()
        self.seconds = time.monotonic() - self.started
        tensors = {f"modules/{k}": v for k, v in module_tensors(self.modules).items()}
        tensors.update({f"optimizer/{k}": v for k, v in self.optimizer.tensors().items()})
        if self.ema:
            tensors.update({f"ema/{k}": v for k, v in self.ema.tensors().items()})
        state = {
            "step": self.step,
            "total": self.total,
            "seconds": self.seconds,
            "hash": self.hash,
            "budget": asdict(self.budget),
            "history": self.journal.rows,
        }
        atomic_write_bytes(self.checkpoint, pack(tensors, state))
        self.saved = time.monotonic()

    def _log(self, line: str) -> None:
        log_line(self.place.run_dir, f"{self.settings.name}: {line}")
