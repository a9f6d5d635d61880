"""Accelerate's engine for a device: precision, processes, trackers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
        accelerator = Accelerator(
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
    check_engine(accelerator.distributed_type.value, _fsdp_version(accelerator), precision)
    return accelerator


def check_engine(kind: str, version: int = 2, precision: str = "no") -> None:
    """Find an engine of Accelerate that this training loop does not serve; it serves FSDP2.

    Args:
        version: of FSDP; precision: Accelerate's name for it.

    Raises:
        TrainingError: it is one; without this line it would run, and save no memory.
    """
    if kind in ("DEEPSPEED", "MEGATRON_LM", "TP") or (kind == "FSDP" and version != 2):
        name = f"{kind}{version}" if kind == "FSDP" else kind
        raise TrainingError(
            f"accelerate's engine {name} would hold whole copies here, as DDP does: launch with "
            "adb_core/app/configs/ddp.yaml, and where a GPU is too small with fsdp2.yaml beside it"
        )
    if kind == "FSDP" and precision == "fp16":
        raise TrainingError(
            "FSDP2 and fp16 do not go together here, since each process would scale the loss by a "
            "factor of its own: use --mixed-precision bf16 or no"
        )


def is_sharding(accelerator: Accelerator) -> bool:
    """Whether ``accelerate launch`` asks for shares of the model instead of copies (FSDP2)."""
    kind = accelerator.distributed_type.value
    return kind == "FSDP" and accelerator.num_processes > 1 and _fsdp_version(accelerator) == 2


def _fsdp_version(accelerator: Accelerator) -> int:
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    return getattr(plugin, "fsdp_version", 1)


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


# What torch says where another process is gone: gloo's and NCCL's own words, and its time limit.
GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Timed out")


@contextmanager
def lost_process(accelerator: Accelerator) -> Iterator[None]:
    """Within, the end of another process of the run is one line instead of a library's report.

    Raises:
        TrainingError: one was killed, or ended with an error of its own.
    """
    try:
        yield
    except TrainingError:
        raise
    except RuntimeError as error:
        if accelerator.num_processes == 1 or not any(words in str(error) for words in GONE):
            raise
        raise TrainingError(
            f"another of the {accelerator.num_processes} processes has ended, and with it this "
            "run; its own message says why, if it had time for one: run the same command again, "
            "which goes on from the last checkpoint"
        ) from error
