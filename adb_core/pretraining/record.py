"""What a run of pretraining trained, with what: the model card tells it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import torch

from .. import __version__
from ..tinymodel.card import read_record
from .clip import PATCH_WEIGHT


def training_record(
    run_dir: str | Path,
    start: str | Path | None = None,
    patch_weight: float = PATCH_WEIGHT,
    batch: dict[str, int] | None = None,
) -> list[dict]:
    """What was trained, one entry a run, oldest first.

    An entry has ``command``, ``hardware``, the commit of the ``code``, perhaps a ``note``, what was
    ``measured`` after it, and, by stage, steps, seconds, batch and seed.

    Args:
        start: the folder whose weights this run went on from; its own record comes first.
        batch: of stages that had another than usual.

    Raises:
        FileNotFoundError: the run folder holds no finished stage.
    """
    stages = {}
    for path in sorted(Path(run_dir).glob("*/done.json")):
        done = json.loads(path.read_text())
        stages[done.get("name", path.parent.name)] = {
            "steps": done["steps"],
            "seconds": done["seconds"],
            "batch": done.get("settings", {}).get("batch"),
            "seed": done.get("seed"),
        }
    if not stages:
        raise FileNotFoundError(f"no finished stage in {run_dir}: it holds no */done.json")
    manifest = Path(run_dir) / "cache" / "manifest.json"
    images = f"--images {json.loads(manifest.read_text())['count']} " if manifest.exists() else ""
    steps = ",".join(f"{name}={done['steps']}" for name, done in stages.items())
    began = "--from data " if start is not None else ""
    weight = "" if patch_weight == PATCH_WEIGHT else f"--patch-weight {patch_weight:g} "
    sizes = ",".join(f"{name}={size}" for name, size in (batch or {}).items())
    sizes = sizes and f"--batch {sizes} "
    this = {
        "command": f"python -m adb_core.pretraining {began}{images}{weight}{sizes}--steps {steps}",
        "hardware": hardware(),
        "code": code(),
        "stages": stages,
    }
    return [*read_record(start), this] if start is not None else [this]


def hardware() -> str:
    """This machine in general words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "unknown")()
    return f"{os.cpu_count()} CPU cores, {capability}"


def code() -> str:
    """The commit of this checkout in short, or the package's version where there is none."""
    asking = ["git", "rev-parse", "--short", "HEAD"]
    here = Path(__file__).parent
    try:
        asked = subprocess.run(asking, cwd=here, capture_output=True, text=True)
    except FileNotFoundError:  # no git
        return f"version {__version__}"
    return f"commit {asked.stdout.strip()}" if asked.returncode == 0 else f"version {__version__}"
