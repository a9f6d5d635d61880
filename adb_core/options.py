"""What may be chosen of a run besides its base model, concept and recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .images import PLAIN, Augmentation

if TYPE_CHECKING:
    from accelerate import Accelerator

OPTIMIZERS = ("adamw", "adam8bit")


@dataclass(frozen=True)
class RunOptions:
    """Of :class:`adb_core.Run` and :class:`adb_core.Learner`; their keywords are these fields.

    Attributes:
        seed: of every random choice. preset: of a recipe that is given by its name.
        view_count: K, augmented views of each photo whose latents are cached; augmentation: how.
        in_place: train the base model's own U-Net, for models too large to hold twice.
        watch: read the attention maps even where nothing is regularized, for the statistics.
        path: of the attention capture, see :class:`adb_core.capture_attention`.
        gradient_checkpointing: compute activations twice to hold fewer of them.
        accumulation: micro-batches a step; the batch must divide by it (and by the processes).
        micro_batch: at most so many samples at once: more micro-batches where a share is larger.
        optimizer: "adamw", or "adam8bit": moments in 8 bits, through bitsandbytes, on CUDA.
        offload: parts that a stage does not need (the VAE; where the rows of [V] are fixed, the
            text encoders) wait in the CPU's memory, on a CPU in a file; they come back when used.
        channels_last: the U-Net's weights as GPUs with tensor cores want them.
        tier: the one of :mod:`adb_core.tiers` that these come from; memory that runs out then
            costs one tier instead of the run.
        resolution: pixels a side that are trained at; None is the model's own.
        accelerator: of :func:`adb_core.make_accelerator`, for mixed precision, several processes
            and trackers; None trains in float32.
        out: folder for checkpoint and history; None keeps everything in memory.
        resume: go on from a checkpoint in ``out``; save_every: steps between checkpoints.
        progress: a bar for the encoding of views and for each stage.
    """

    seed: int = 0
    preset: str = "tiny"
    view_count: int = 16
    augmentation: Augmentation = PLAIN
    in_place: bool = False
    watch: bool = True
    path: str | None = None
    gradient_checkpointing: bool = False
    accumulation: int = 1
    micro_batch: int | None = None
    optimizer: str = "adamw"
    offload: bool = False
    channels_last: bool = False
    tier: str | None = None
    resolution: int | None = None
    accelerator: Accelerator | None = field(default=None, compare=False)
    out: str | Path | None = None
    resume: bool = True
    save_every: int = 50
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("view_count", "accumulation", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("micro_batch", "resolution"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"unknown optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}"
            )


def chosen(options: RunOptions | None, changes: dict) -> RunOptions:
    """Options with some of them changed.

    Raises:
        TypeError: a change that is no option.
    """
    return replace(options or RunOptions(), **changes)
