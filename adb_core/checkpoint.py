"""Checkpoints: one safetensors file, replaced whole or not at all; nothing is ever unpickled.

A checkpoint holds what has changed so far and no more: the row of [V]; after stage 2 the
cross-attention parameters; in stage 3 the U-Net; and AdamW's two moments for the stage that
runs. Its header says whose it is, so that another concept, recipe or base model is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .recipes import Stage
from .system.files import atomic_write_bytes
from .training import Learner

FORMAT = 2
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; one line that names the file and the cure."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: ``stage`` is the number of the stage in the recipe, ``step`` its finished steps."""

    stage: int
    step: int


def identity(learner: Learner) -> dict[str, str]:
    """What a checkpoint must agree on with the run that wants it: short hashes by name."""

    def digest(*parts: bytes) -> str:
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    concept = learner.concept
    pictures = [str(i.shape).encode() + i.tobytes() for i in concept.images]
    views = json.dumps([learner.view_count, asdict(learner.augmentation), learner.seed])
    return {
        "concept": digest(concept.placeholder.encode(), concept.category.encode(), *pictures),
        "recipe": digest(
            json.dumps(asdict(learner.recipe), sort_keys=True).encode(), views.encode()
        ),
        "base model": learner.base_digest,
    }


def _trained(learner: Learner, progress: Progress) -> dict[str, Tensor]:
    """Every tensor that any stage so far, the running one included, may have changed."""
    tensors: dict[str, Tensor] = {}
    for stage in learner.recipe.stages[: progress.stage + 1]:
        tensors |= {name: p.detach() for name, p in learner.parameters(stage).items()}
    return {"token.rows": learner.token.rows.detach(), **tensors}


def _moments(
    learner: Learner, stage: Stage, optimizer: torch.optim.AdamW | None
) -> dict[str, Tensor]:
    """AdamW's state as flat names: "adam.<parameter>.<exp_avg | exp_avg_sq | step>"."""
    if optimizer is None:
        return {}
    return {
        f"adam.{name}.{key}": value
        for name, p in learner.parameters(stage).items()
        for key, value in optimizer.state.get(p, {}).items()
    }


def save_checkpoint(
    path: str | Path,
    learner: Learner,
    progress: Progress,
    optimizer: torch.optim.AdamW | None = None,
    scaler: dict | None = None,
) -> None:
    """Write a checkpoint atomically. Without ``optimizer`` the next step starts with fresh moments.

    Args:
        scaler: the state of fp16's loss scaler, which decides what is rounded away.

    Raises:
        DiskFull: no space; the earlier checkpoint is untouched.
    """
    stage = learner.recipe.stages[min(progress.stage, len(learner.recipe.stages) - 1)]
    tensors = _trained(learner, progress) | _moments(learner, stage, optimizer)
    header = {
        "format": FORMAT,
        "progress": asdict(progress),
        "identity": identity(learner),
        "recipe": learner.recipe.name,
        "scaler": scaler or {},
    }
    atomic_write_bytes(
        path,
        save(
            {n: t.detach().cpu().contiguous() for n, t in tensors.items()},
            metadata={"adb": json.dumps(header)},
        ),
    )


def read_header(path: str | Path) -> dict:
    """The header of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, a pickle, or not a checkpoint of this project.
    """
    path = Path(path)
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".pkl"):
        raise CheckpointError(
            f"{path} is a pickle file, which can run code when it is opened: only .safetensors checkpoints are read"
        )
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get("adb", "null"))
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}: start without --resume") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}): delete it and start again"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this version of the project: give another file, or delete it and start again"
        )
    whole = (
        isinstance(header.get("identity"), dict)
        and isinstance(header.get("progress"), dict)
        and set(header["progress"]) == {"stage", "step"}
    )
    if not whole or not all(isinstance(n, int) and n >= 0 for n in header["progress"].values()):
        raise CheckpointError(
            f"{path} is damaged (its header is not whole): delete it and start again"
        )
    return header


def load_checkpoint(
    path: str | Path, learner: Learner
) -> tuple[Progress, torch.optim.AdamW | None]:
    """Bring a fresh learner to where a checkpoint was taken.

    Returns:
        The progress and, inside a stage, the optimizer with its moments.

    Raises:
        CheckpointError: it belongs to another concept, recipe or base model, or shapes differ.
    """
    from .training import make_optimizer

    header = read_header(path)
    mine = identity(learner)
    for what, value in mine.items():
        if header["identity"].get(what) != value:
            raise CheckpointError(
                f"{path} belongs to another {what}: use another output folder, or delete it to start afresh"
            )
    progress = Progress(**header["progress"])
    with safe_open(str(path), "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    targets = _trained(learner, progress)
    running = progress.step > 0 and progress.stage < len(learner.recipe.stages)
    shapes = {name: target.shape for name, target in targets.items()}
    if running:
        for name, p in learner.parameters(learner.recipe.stages[progress.stage]).items():
            shapes |= {
                f"adam.{name}.{key}": torch.Size() if key == "step" else p.shape for key in MOMENTS
            }
    for name, shape in shapes.items():
        if name not in stored or stored[name].shape != shape:
            found = tuple(stored[name].shape) if name in stored else "nothing"
            raise CheckpointError(
                f"{path}: {name} should have shape {tuple(shape)}, found {found}: delete it and start again"
            )
    for name, target in targets.items():
        target.copy_(stored[name])
    learner.token.bake()
    if not running:
        return progress, None
    stage = learner.recipe.stages[progress.stage]
    optimizer = make_optimizer(learner, stage)
    for name, parameter in learner.parameters(stage).items():
        optimizer.state[parameter] = {
            key: stored[f"adam.{name}.{key}"]
            if key == "step"
            else stored[f"adam.{name}.{key}"].to(parameter.device)
            for key in MOMENTS
        }
    return progress, optimizer
