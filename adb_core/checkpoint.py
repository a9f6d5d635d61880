"""Checkpoints: one safetensors file, replaced whole or not at all; nothing is ever unpickled.

A checkpoint holds what has changed so far and no more: the rows of [V]; after stage 2 the
cross-attention parameters; in stage 3 the U-Net; AdamW's two moments for the stage that runs; and
the latents that prior preservation sampled. Its header says whose it is, so that another concept,
recipe or base model is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .concept import Concept
from .learner import PRIOR_COUNT, Learner
from .optimizers import kind_of, make_optimizer
from .options import RunOptions
from .recipes import Recipe, Stage
from .records import StepRecord, read_history
from .sharding import on_cpu
from .system.files import atomic_file
from .system.fingerprints import fingerprint, json_fingerprint

FORMAT = 3
CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
PRIOR = "prior.latents"
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
ANEW = "delete it and start again"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; one line that names the file and the cure."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: the number of the stage in the recipe, and its finished steps."""

    stage: int
    step: int


# ---------------------------------------------------------------- whose it is


def identity(
    base_digest: str, concept: Concept, recipe: Recipe, options: RunOptions, precision: str
) -> dict[str, str]:
    """What a checkpoint must agree on with the run that wants it: short hashes, or plain words."""

    pictures = [str(i.shape).encode() + i.tobytes() for i in concept.images]
    words = [concept.placeholder, concept.category, *(c or "" for c in concept.captions)]
    views = [options.view_count, asdict(options.augmentation), options.seed]
    if options.resolution is not None:
        views.append(options.resolution)
    return {
        "concept": fingerprint([*words, *pictures], separator=b"\0")[:16],
        "recipe": json_fingerprint([asdict(recipe), views])[:16],
        "base model": base_digest,
        "precision": precision,
        "accumulation": str(options.accumulation),
    }


def identity_of(learner: Learner) -> dict[str, str]:
    """The same of a learner."""
    precision = learner.accelerator.mixed_precision
    return identity(
        learner.base_digest, learner.concept, learner.recipe, learner.options, precision
    )


def check_identity(path: str | Path, header: dict, mine: dict[str, str]) -> None:
    """Find out whether a checkpoint is this run's.

    Raises:
        CheckpointError: it is not; says in what it differs.
    """
    for what, value in mine.items():
        theirs = header["identity"].get(what)
        if theirs == value:
            continue
        if what in ("precision", "accumulation"):
            raise CheckpointError(
                f"{path} was trained with {what} {theirs}, this run has {value}: "
                "use the same, another output folder, or delete it to start afresh"
            )
        raise CheckpointError(
            f"{path} belongs to another {what}: "
            "use another output folder, or delete it to start afresh"
        )


# ---------------------------------------------------------------- what it holds


def _trained(learner: Learner, progress: Progress) -> dict[str, Tensor]:
    """Every tensor that any stage so far, the running one included, may have changed."""
    tensors: dict[str, Tensor] = {n: p.detach() for n, p in learner.token.parameters().items()}
    for stage in learner.recipe.stages[: progress.stage + 1]:
        tensors |= {name: p.detach() for name, p in learner.parameters(stage).items()}
    return tensors


def _running(learner: Learner, progress: Progress) -> Stage | None:
    """The stage that a run stands inside of, if it does."""
    stages = learner.recipe.stages
    return stages[progress.stage] if progress.step and progress.stage < len(stages) else None


def _moments(
    learner: Learner, stage: Stage | None, optimizer: torch.optim.AdamW | None
) -> dict[str, Tensor]:
    """The optimizer's state as flat names: "adam.<parameter>.<exp_avg | exp_avg_sq | step>"."""
    if optimizer is None or stage is None:
        return {}
    return {
        f"adam.{name}.{key}": torch.as_tensor(value)  # 8-bit Adam counts its steps by an integer
        for name, p in learner.parameters(stage).items()
        for key, value in optimizer.state.get(p, {}).items()
    }


def _shapes(learner: Learner, progress: Progress, kind: str) -> dict[str, torch.Size]:
    """What a checkpoint at that progress must hold; 8-bit moments have shapes of their own."""
    shapes = {name: tensor.shape for name, tensor in _trained(learner, progress).items()}
    stage = _running(learner, progress)
    if stage is not None and kind == "adamw":
        for name, p in learner.parameters(stage).items():
            for key in MOMENTS:
                shapes[f"adam.{name}.{key}"] = torch.Size() if key == "step" else p.shape
    if learner.wants_prior:
        shapes[PRIOR] = torch.Size((PRIOR_COUNT, *learner.latents[0].shape[1:]))
    return shapes


def save_checkpoint(
    path: str | Path,
    learner: Learner,
    progress: Progress,
    optimizer: torch.optim.AdamW | None = None,
    scaler: dict | None = None,
) -> None:
    """Write a checkpoint, whole or not at all, straight from the tensors' own memory.

    Args:
        optimizer: of the running stage; between stages, where moments start afresh, it is left out.
        scaler: the state of fp16's loss scaler, which decides what is rounded away.

    Raises:
        DiskFull: no space; the earlier checkpoint is untouched.
    """
    tensors = _trained(learner, progress)
    tensors |= _moments(learner, _running(learner, progress), optimizer)
    if learner.prior_latents is not None:
        tensors[PRIOR] = learner.prior_latents
    header = {
        "format": FORMAT,
        "progress": asdict(progress),
        "identity": identity_of(learner),
        "recipe": learner.recipe.name,
        "scaler": scaler or {},
        "optimizer": "adamw" if optimizer is None else kind_of(optimizer),
        "tier": learner.options.tier,
    }
    tensors = on_cpu(tensors, keep=learner.accelerator.is_main_process)
    if not tensors:  # this process only gave its shares
        return
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    with atomic_file(path, size) as temporary:
        save_file(tensors, temporary, metadata={"adb": json.dumps(header)})


# ---------------------------------------------------------------- reading


def read_header(path: str | Path) -> dict:
    """The header of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, a pickle, or not a checkpoint of this project.
    """
    path = Path(path)
    if path.suffix in PICKLES:
        raise CheckpointError(
            f"{path} is a pickle file, which can run code when it is opened: "
            "only .safetensors checkpoints are read"
        )
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get("adb", "null"))
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}: start without --resume") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}): {ANEW}"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this version of the project: "
            f"give another file, or {ANEW}"
        )
    progress = header.get("progress")
    if (
        not isinstance(header.get("identity"), dict)
        or not isinstance(progress, dict)
        or set(progress) != {"stage", "step"}
        or not all(isinstance(n, int) and n >= 0 for n in progress.values())
    ):
        raise CheckpointError(f"{path} is damaged (its header is not whole): {ANEW}")
    return header


def load_checkpoint(
    path: str | Path, learner: Learner
) -> tuple[Progress, torch.optim.AdamW | None]:
    """Bring a fresh learner to where a checkpoint was taken.

    Returns:
        The progress and, inside a stage, the optimizer with its moments.

    Raises:
        CheckpointError: it belongs to another run (see :func:`identity`), or shapes differ; the
            learner is untouched.
    """
    header = read_header(path)
    check_identity(path, header, identity_of(learner))
    progress = Progress(**header["progress"])
    with safe_open(str(path), "pt") as file:
        kind = header.get("optimizer", "adamw")
        _check_shapes(path, file, _shapes(learner, progress, kind))
        for name, target in _trained(learner, progress).items():
            target.copy_(file.get_tensor(name))
        learner.token.bake()
        if learner.wants_prior:
            learner.prior_latents = file.get_tensor(PRIOR).to(learner.base.device)
        stage = _running(learner, progress)
        if stage is None:
            return progress, None
        optimizer = make_optimizer(learner, stage, kind)
        for name, parameter in learner.parameters(stage).items():
            optimizer.state[parameter] = _state(file, f"adam.{name}.", parameter, optimizer)
    return progress, optimizer


def _state(
    file: Any, prefix: str, parameter: Tensor, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """One parameter's part of the optimizer's state."""
    state = {
        n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if n.startswith(prefix)
    }
    if kind_of(optimizer) != "adamw":
        step = int(state.pop("step"))
        return {key: value.to(parameter.device) for key, value in state.items()} | {"step": step}
    # fused kernels want the count of steps on their device, the others on the CPU, and all of
    # them the moments in the parameter's own memory format
    where = parameter.device if optimizer.defaults["fused"] else torch.device("cpu")
    moments = {
        key: torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(state[key])
        for key in MOMENTS
        if key != "step"
    }
    return moments | {"step": state["step"].to(where)}


def _check_shapes(path: str | Path, file: Any, shapes: dict[str, torch.Size]) -> None:
    there = set(file.keys())
    for name, shape in shapes.items():
        found = tuple(file.get_slice(name).get_shape()) if name in there else "nothing"
        if found != tuple(shape):
            raise CheckpointError(
                f"{path}: {name} should have shape {tuple(shape)}, found {found}: {ANEW}"
            )


def load_history(folder: Path, at: Progress, recipe: Recipe) -> list[StepRecord]:
    """The records up to a checkpoint; those after it will be made again.

    Raises:
        CheckpointError: ``history.json`` is damaged, or another recipe's.
    """
    path, names = folder / HISTORY, [s.name for s in recipe.stages]
    try:
        records = read_history(path)
        if not all(r.stage in names for r in records):
            raise ValueError("a stage that the recipe does not have")
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): delete it, and its curves are lost but the run goes on"
        ) from error
    return [r for r in records if (names.index(r.stage), r.step) <= (at.stage, at.step)]
