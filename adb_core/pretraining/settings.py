"""What a stage of pretraining is given: its settings, its budget, and where it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

WARM_LR = 0.5  # share of the learning rate for weights that are already trained


class FitError(RuntimeError):
    """Training cannot go on; the message is one line that says what to do."""


@dataclass(frozen=True)
class Place:
    """Where a stage runs and leaves its files.

    Attributes:
        seed: of all randomness.
        bf16: None uses bf16 autocast where the hardware has it.
    """

    run_dir: Path
    seed: int
    device: torch.device | str
    bf16: bool | None = None


@dataclass(frozen=True)
class Budget:
    """How long a stage trains: exactly one of the two."""

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give the budget as either minutes or steps")

    def __str__(self) -> str:
        return f"{self.steps} steps" if self.minutes is None else f"{self.minutes:g} min"


@dataclass(frozen=True)
class Fit:
    """Settings of one pretraining stage.

    Attributes:
        lr: peak learning rate of AdamW.
        batch: samples per step; the loop only uses it to print samples per second.
        warmup: steps of linear warm-up (at most a quarter of the run if the steps are given).
        weight_decay: for matrices and kernels; biases and norms are not decayed.
        clip: gradient norm above which gradients are scaled down.
        ema: decay of the averaged weights that the stage ends with; None keeps the raw ones.
        schedule: "cosine" falls to 2 % of lr; "onecycle" rises from lr/25 over the first
            quarter, then falls to lr/1000; "trapezoid" stays at the peak and falls to 2 % over
            the last third, so that a run can be prolonged by going on from before the fall.
        muon_lr: peak learning rate of Muon for matrices and kernels; None leaves all to AdamW.
    """

    name: str
    lr: float
    batch: int
    warmup: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: str = "cosine"
    muon_lr: float | None = None

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "onecycle", "trapezoid"):
            raise ValueError(
                f"unknown schedule {self.schedule!r}: choose cosine, onecycle or trapezoid"
            )


def warm(settings: Fit, start: Path | None) -> Fit:
    """The settings, gentler if training goes on from the weights in ``start``."""
    if start is None:
        return settings
    muon_lr = settings.muon_lr and settings.muon_lr * WARM_LR
    return replace(settings, lr=settings.lr * WARM_LR, muon_lr=muon_lr)


def warmup_steps(settings: Fit, budget: Budget) -> int:
    """With known steps the warm-up may shrink; with minutes the total comes too late for that."""
    steps = budget.steps
    return settings.warmup if steps is None else min(settings.warmup, steps // 4)


def can_go_on(settings: Fit, step: int, before: Budget, budget: Budget) -> bool:
    """Whether a run that stopped at ``step`` of one budget may go on with another one.

    Only if all steps so far would have been the same: those of a trapezoid are until the learning
    rate of either budget falls. So a long run can be made shorter or longer on its way.
    """
    if settings.schedule != "trapezoid" or before.steps is None or budget.steps is None:
        return False
    warmup = warmup_steps(settings, budget)
    if warmup != warmup_steps(settings, before):
        return False
    level = [lr_factor(settings, step - 1, b.steps, warmup) for b in (before, budget)]
    return step <= warmup or level == [1.0, 1.0]


def lr_factor(settings: Fit, step: int, total: int | None, warmup: int) -> float:
    """Share of the peak learning rate at ``step``; ``total`` None: the budget is still being timed.

    While it is timed the share does not depend on the total, so the steps are already the
    first steps of the schedule to come.
    """
    span = max(1, total - warmup) if total else 1
    progress = min(1.0, max(0, step - warmup) / span) if total else 0.0
    if settings.schedule == "cosine":
        return min(1.0, (step + 1) / max(1, warmup)) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        )
    if settings.schedule == "trapezoid":
        fall = min(1.0, 3 * (1 - progress))
        return min(1.0, (step + 1) / max(1, warmup)) * (0.02 + 0.98 * fall)
    if progress < 0.25:
        rise = 0.5 * (1 - math.cos(math.pi * progress / 0.25))
        return 0.04 + 0.96 * rise
    return 0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (progress - 0.25) / 0.75))
