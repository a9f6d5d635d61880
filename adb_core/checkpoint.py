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

from .files import atomic_write_bytes
from .recipes import Stage
from .training import Learner

FORMAT = 1


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

    concept, base = learner.concept, learner.base
    pictures = [str(i.shape).encode() + i.tobytes() for i in concept.images]
    table = base.text_encoder.get_input_embeddings().weight.detach().float().cpu().numpy().tobytes()
    probe = next(p for n, p in base.vae.named_parameters()).detach().float().cpu().numpy().tobytes()
    # diffusers keeps notes of its own under "_...", in an order that changes from process to process
    config = {k: v for k, v in base.unet.config.items() if not k.startswith("_")}
    views = json.dumps([learner.view_count, asdict(learner.augmentation), learner.seed])
    return {
        "concept": digest(concept.placeholder.encode(), concept.category.encode(), *pictures),
        "recipe": digest(json.dumps(asdict(learner.recipe), sort_keys=True).encode(), views.encode()),
        "base model": digest(str(base.revision).encode(), json.dumps(config, sort_keys=True, default=str).encode(), table, probe),
    }


def _trained(learner: Learner, progress: Progress) -> dict[str, Tensor]:
    """Every tensor that any stage so far, the running one included, may have changed."""
    tensors: dict[str, Tensor] = {}
    for stage in learner.recipe.stages[: progress.stage + 1]:
        tensors |= {name: p.detach() for name, p in learner.parameters(stage).items()}
    return {"token.rows": learner.token.rows.detach(), **tensors}


def _moments(learner: Learner, stage: Stage, optimizer: torch.optim.AdamW | None) -> dict[str, Tensor]:
    """AdamW's state as flat names: "adam.<parameter>.<exp_avg | exp_avg_sq | step>"."""
    if optimizer is None:
        return {}
    return {f"adam.{name}.{key}": value for name, p in learner.parameters(stage).items()
            for key, value in optimizer.state.get(p, {}).items()}


def save_checkpoint(path: str | Path, learner: Learner, progress: Progress, optimizer: torch.optim.AdamW | None = None) -> None:
    """Write a checkpoint atomically. Without ``optimizer`` the next step starts with fresh moments.

    Raises:
        DiskFull: no space; the earlier checkpoint is untouched.
    """
    stage = learner.recipe.stages[min(progress.stage, len(learner.recipe.stages) - 1)]
    tensors = _trained(learner, progress) | _moments(learner, stage, optimizer)
    header = {"format": FORMAT, "progress": asdict(progress), "identity": identity(learner), "recipe": learner.recipe.name}
    atomic_write_bytes(path, save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, metadata={"adb": json.dumps(header)}))


def read_header(path: str | Path) -> dict:
    """The header of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, a pickle, or not a checkpoint of this project.
    """
    path = Path(path)
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".pkl"):
        raise CheckpointError(f"{path} is a pickle file, which can run code when it is opened: only .safetensors checkpoints are read")
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get("adb", "null"))
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}: start without --resume") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file ({error}): delete it and start again") from error
    if not header or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this project: give another file")
    return header


def load_checkpoint(path: str | Path, learner: Learner) -> tuple[Progress, torch.optim.AdamW | None]:
    """Bring a fresh learner to where a checkpoint was taken.

    Returns:
        The progress and, inside a stage, the optimizer with its moments.

    Raises:
        CheckpointError: it belongs to another concept, recipe or base model, or shapes differ.
    """
    from .training import make_optimizer

    header = read_header(path)
    mine = identity(learner)
    for what, value in header["identity"].items():
        if mine[what] != value:
            raise CheckpointError(f"{path} belongs to another {what}: use another output folder, or delete it to start afresh")
    progress = Progress(**header["progress"])
    with safe_open(str(path), "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    targets = _trained(learner, progress)
    for name, target in targets.items():
        if name not in stored or stored[name].shape != target.shape:
            found = tuple(stored[name].shape) if name in stored else "nothing"
            raise CheckpointError(f"{path}: {name} should have shape {tuple(target.shape)}, found {found}: delete it and start again")
    for name, target in targets.items():
        target.copy_(stored[name])
    learner.token.bake()
    if progress.step == 0 or progress.stage >= len(learner.recipe.stages):
        return progress, None
    stage = learner.recipe.stages[progress.stage]
    optimizer = make_optimizer(learner, stage)
    for name, parameter in learner.parameters(stage).items():
        keys = [n for n in stored if n.startswith(f"adam.{name}.") and "." not in n[len(f"adam.{name}."):]]
        optimizer.state[parameter] = {
            n.rsplit(".", 1)[1]: stored[n] if n.endswith(".step") else stored[n].to(parameter.device) for n in keys
        }
    return progress, optimizer
