"""The files of a stage: weights with a state in their header, and what makes them reusable."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..system.files import explain_disk_full
from ..system.fingerprints import json_fingerprint
from .settings import Fit, FitError

Modules = dict[str, nn.Module]


def pack(tensors: dict[str, Tensor], state: dict) -> bytes:
    """Tensors with a state as JSON in the header: one file, so one rename replaces all or none."""
    # copy: safetensors refuses tensors that share memory, as tied weights do
    plain = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    return save(plain, metadata={"state": json.dumps(state)})


def unpack(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The inverse of :func:`pack`.

    Raises:
        FitError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(
                (file.metadata() or {})["state"]
            )
    except (SafetensorError, KeyError, ValueError) as error:
        raise FitError(
            f"{path} is damaged ({error}); delete the folder {path.parent} and run again"
        ) from error


def module_tensors(modules: Modules) -> dict[str, Tensor]:
    """The modules' state dicts as one, named module/key."""
    return {f"{name}/{k}": v for name, m in modules.items() for k, v in m.state_dict().items()}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with the prefix, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def load_modules(modules: Modules, tensors: dict[str, Tensor], path: Path) -> None:
    """The inverse of :func:`module_tensors`.

    Raises:
        FitError: ``path``, where they come from, holds another architecture.
    """
    try:
        for name, module in modules.items():
            module.load_state_dict(part(tensors, f"{name}/"))
    except RuntimeError as error:
        raise FitError(other_settings(path.parent, "another architecture")) from error


def settings_hash(settings: Fit, modules: Modules, seed: int) -> str:
    """What must agree for weights to be reused: settings, seed, every tensor's name and shape."""
    shapes = {k: list(v.shape) for k, v in module_tensors(modules).items()}
    return json_fingerprint([asdict(settings), shapes, seed])[:16]


def other_settings(folder: Path, what: str) -> str:
    """The line for a folder whose weights cannot be reused."""
    return (
        f"{folder} holds a run made with {what}; "
        f"delete that folder to start afresh, or use another --run folder"
    )


def is_finished(run_dir: str | Path, name: str) -> bool:
    """Whether a stage of this run is done."""
    return (Path(run_dir) / name / "done.json").exists()


def read_done(folder: Path) -> dict:
    """What a finished stage says of itself.

    Raises:
        FitError: the file is damaged.
    """
    try:
        return json.loads((folder / "done.json").read_text())
    except ValueError as error:
        raise FitError(
            f"{folder / 'done.json'} is damaged; delete {folder} and run again"
        ) from error


def log_line(run_dir: str | Path, line: str) -> None:
    """Append a line with the time to ``run_dir/log.txt``."""
    path = Path(run_dir) / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with explain_disk_full(path), open(path, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
