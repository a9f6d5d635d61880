"""A stage that is done: its weights, and what it says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..system.files import atomic_write_bytes, atomic_write_json
from .settings import Budget, Fit, FitError, Place
from .stage_files import (
    Modules,
    load_modules,
    log_line,
    module_tensors,
    other_settings,
    pack,
    read_done,
    settings_hash,
    unpack,
)


@dataclass(frozen=True)
class FitReport:
    """What a stage did. ``losses`` are the means over the last log interval."""

    name: str
    steps: int
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    finished_earlier: bool = False


def write_finished(
    report: FitReport, settings: Fit, modules: Modules, place: Place, budget: Budget
) -> None:
    """Write the weights, then ``done.json``, which makes the stage a finished one."""
    folder = Path(place.run_dir) / settings.name
    atomic_write_bytes(folder / "final.safetensors", pack(module_tensors(modules), {}))
    done = {
        **asdict(report),
        "budget": asdict(budget),
        "settings": asdict(settings),
        "seed": place.seed,
        "hash": settings_hash(settings, modules, place.seed),
    }
    del done["finished_earlier"]
    atomic_write_json(folder / "done.json", done)


def load_finished(settings: Fit, modules: Modules, place: Place, budget: Budget) -> FitReport:
    """Load the weights of a stage that is done.

    Raises:
        FitError: a file is missing or damaged, or the stage was made with other settings.
    """
    folder = Path(place.run_dir) / settings.name
    path, done = folder / "final.safetensors", read_done(folder)
    if done["hash"] != settings_hash(settings, modules, place.seed):
        raise FitError(other_settings(folder, "other settings"))
    if not path.exists():
        raise FitError(f"{path} is missing; delete the folder {folder} and run again")
    load_modules(modules, unpack(path)[0], path)
    for module in modules.values():
        module.to(place.device).eval()
    # Another budget is no reason to throw finished weights away, but it must be said.
    note = ""
    if done["budget"] != asdict(budget):
        note = (
            f" (made with {Budget(**done['budget'])}, asked {budget}: "
            f"kept; delete {folder} to train again)"
        )
    log_line(place.run_dir, f"{settings.name}: finished earlier, {done['steps']} steps{note}")
    return FitReport(
        settings.name, done["steps"], done["seconds"], done["losses"], finished_earlier=True
    )
