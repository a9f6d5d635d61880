"""Accelerate's engine for a device: precision, processes, trackers."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

import torch

from .system.devices import MIXED_PRECISIONS, has_bf16

if TYPE_CHECKING:
    from accelerate import Accelerator


class TrainingError(RuntimeError):
    """Training cannot go on; one line that says why and what to do."""


def make_accelerator(
    device: torch.device,
    mixed_precision: str | None = None,
    *,
    trackers: Any = None,
    folder: str | None = None,
) -> Accelerator:
    """Accelerate's engine for a device.

    Args:
        trackers: a name or objects that Accelerate logs to, as "tensorboard"; folder: for their
            files.
        mixed_precision: "no" is float32 throughout; "bf16" and "fp16" compute the U-Net in half
            precision while weights, statistics and losses stay float32; "auto" is bf16 where the
            hardware has instructions for it (elsewhere it would be slower), else "no". None is
            what ``accelerate launch`` asks for, else "no".

    Raises:
        TrainingError: unknown, not to be had here, or not the one that this process has trained in
            before, since Accelerate keeps one for the whole process.
    """
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin

    precision = _precision(device, mixed_precision)
    if isinstance(trackers, str) and importlib.util.find_spec(trackers) is None:
        raise TrainingError(
            f"logging to {trackers!r} needs a package that is not installed: pip install {trackers}"
        )
    try:
        return Accelerator(
            mixed_precision=precision,
            cpu=device.type == "cpu",
            log_with=trackers,
            project_dir=folder,
            # our own micro-batches; Accelerate's variable would divide the gradients once more
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise TrainingError(f"mixed precision {precision!r}: {reason}") from error


def _precision(device: torch.device, name: str | None) -> str:
    name = name or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if name not in MIXED_PRECISIONS:
        raise TrainingError(
            f"mixed precision {name!r}: choose one of {', '.join(MIXED_PRECISIONS)}"
        )
    if name == "auto":
        return "bf16" if has_bf16(device) else "no"
    if name == "fp16" and device.type == "cpu":
        raise TrainingError("mixed precision 'fp16' needs a GPU: use auto, bf16 or no")
    return name
