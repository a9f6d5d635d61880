"""A motion module as a file: safetensors in half precision, with the base model it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..system.files import atomic_file
from ..system.paths import data_path
from .motion import Motion, MotionError, places

WEIGHTS = "motion.safetensors"
FACTS = "adb_motion"  # where the file's header says what the module is


def save_motion(motion: Motion, folder: str | Path, dtype: torch.dtype = torch.float16) -> Path:
    """Write a module's weights, all or nothing; returns the file.

    Raises:
        DiskFull: no space left.
    """
    facts = {
        "base": motion.fingerprint,
        "kinds": motion.kinds,
        "frames": motion.frames,
        "width": motion.width,
    }
    tensors = {k: v.detach().cpu().to(dtype).contiguous() for k, v in motion.state_dict().items()}
    path = Path(folder) / WEIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, sum(t.nbytes for t in tensors.values())) as temporary:
        save_file(tensors, temporary, metadata={FACTS: json.dumps(facts)})
    return path


def load_motion(base: Any, folder: str | Path | None = None) -> Motion:
    """Read a module, in float32, on the base model's device.

    Args:
        base: the model that it was trained on. folder: None is the bundled ``data/motion``.

    Raises:
        MotionError: no such file, a damaged one, or another base model's; one line with the cure.
    """
    cure = "train one with python -m adb_core.pretraining.make_motion"
    try:
        path = (data_path("motion") if folder is None else Path(folder)) / WEIGHTS
        with safe_open(str(path), "pt") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
        kinds, sizes = facts["kinds"], {key: int(facts[key]) for key in ("frames", "width")}
        belongs = str(facts["base"])
    except FileNotFoundError as error:
        raise MotionError(f"no motion module there ({error}): {cure}") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise MotionError(
            f"{path} is no motion module, or a damaged one: copy it again, or {cure}"
        ) from error
    check_belongs(belongs, base)
    motion = Motion(places(base.unet), kinds, belongs, **sizes)
    try:
        motion.load_state_dict(tensors)
    except RuntimeError as error:
        raise MotionError(f"{path} lacks weights, or has other ones: copy it again") from error
    return motion.to(base.device).eval().requires_grad_(False)


def check_belongs(belongs: str, base: Any) -> None:
    """Find out whether a module was made for a base model, by its fingerprint.

    Raises:
        MotionError: it was not.
    """
    given = base.fingerprint()
    if given != belongs:
        raise MotionError(
            f"this motion module belongs to the base model {belongs}, and {base.name} is {given}: "
            "give that base, or train a module for this one "
            "(python -m adb_core.pretraining.make_motion)"
        )
