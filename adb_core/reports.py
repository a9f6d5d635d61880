"""What a step of training reports: numbers on the device, brought home in one transfer.

Axes: L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .engine import TrainingError
from .learner import lower
from .losses import Forward, Losses
from .recipes import Stage
from .records import SERIES, StepRecord

FURTHER = "further."  # before the names of further losses, among all that a step reports


def report(found: Losses, passed: Forward, prior: Tensor, weight: float) -> dict[str, Tensor]:
    """What is reported of a micro-batch: scalars, and batch means of the statistics, (L,) each."""
    values = {
        "loss": found.total + weight * prior,
        "diffusion": found.diffusion,
        "mean_part": found.regularizer.mean_part,
        "var_part": found.regularizer.var_part,
        "prior": prior,
    }
    for name, statistics in (("v", passed.v), ("category", passed.category)):
        if statistics is not None:
            values |= {
                f"{name}_mean": statistics.mean.detach().mean(1),
                f"{name}_var": statistics.var.detach().mean(1),
            }
    values |= {f"{FURTHER}{name}": value for name, value in found.further.items()}
    return {name: value.detach() for name, value in values.items()}


def collect(
    accelerator: Any, reports: Sequence[dict[str, Tensor]], norm: Tensor
) -> dict[str, tuple[float, ...]]:
    """Average reports over micro-batches and processes, as plain numbers."""
    flat = [torch.cat([value.reshape(-1) for value in each.values()]) for each in reports]
    mean = torch.cat([torch.stack(flat).mean(0), norm.detach().reshape(1).to(flat[0])])
    sizes = {name: value.numel() for name, value in reports[0].items()} | {"grad_norm": 1}
    pieces = accelerator.reduce(mean, "mean").cpu().split(list(sizes.values()))
    return {name: tuple(piece.tolist()) for name, piece in zip(sizes, pieces, strict=True)}


def check_numbers(
    stage: Stage, step: int, numbers: dict[str, tuple[float, ...]], scaled: bool
) -> None:
    """Stop at a loss that is no number; fp16's scaler mends gradients that are none.

    Raises:
        TrainingError: it is.
    """
    if not (np.isfinite(numbers["loss"][0]) and (scaled or np.isfinite(numbers["grad_norm"][0]))):
        raise TrainingError(
            f"the loss of stage {stage.name!r} is not a number at step {step + 1}: {lower(stage)}"
        )


def as_record(
    stage: Stage,
    step: int,
    numbers: dict[str, tuple[float, ...]],
    layers: tuple[str, ...],
    **facts: float,
) -> StepRecord:
    """The numbers under their names."""
    values: dict[str, Any] = {"layers": layers, "further": {}, **facts}
    for name, found in numbers.items():
        if name.startswith(FURTHER):
            values["further"][name.removeprefix(FURTHER)] = found[0]
        else:
            values[name] = found if name in SERIES else found[0]
    return StepRecord(stage=stage.name, step=step + 1, steps=stage.steps, **values)
