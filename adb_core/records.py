"""What happened in each step of a run: plain numbers, ready to plot, and their file.

Axes: L layers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from .system.files import atomic_write_json

SERIES = ("v_mean", "v_var", "category_mean", "category_var")  # one number a layer


@dataclass(frozen=True)
class StepRecord:
    """What happened in one optimizer step.

    Attributes:
        step: 1 for the first; of ``steps``.
        loss: all losses with their weights; diffusion: its part; mean_part and var_part are the
            regularizer's two weighted halves; prior and ``further`` are without their weights.
        v_mean, v_var, category_mean, category_var: per-layer batch means of the map statistics,
            in ``layers``' order, (L,) each; empty where nothing was captured.
        grad_norm: before clipping. seconds: wall time of the step.
        further: losses of :data:`adb_core.losses.TERMS`, by the name of their weight.
    """

    stage: str
    step: int
    steps: int
    loss: float
    diffusion: float
    mean_part: float
    var_part: float
    prior: float
    grad_norm: float
    lr: float
    seconds: float
    layers: tuple[str, ...] = ()
    v_mean: tuple[float, ...] = ()
    v_var: tuple[float, ...] = ()
    category_mean: tuple[float, ...] = ()
    category_var: tuple[float, ...] = ()
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        """Whether this was its stage's last step."""
        return self.step == self.steps


def by_stage(history: Sequence[StepRecord]) -> dict[str, list[StepRecord]]:
    """The records of each stage, in order."""
    stages: dict[str, list[StepRecord]] = {}
    for record in history:
        stages.setdefault(record.stage, []).append(record)
    return stages


def last_tenth(records: Sequence[StepRecord]) -> list[StepRecord]:
    """The last tenth of some records, at least one of them: what a stage arrived at."""
    return list(records[-max(1, len(records) // 10) :])


def write_history(path: str | Path, history: Sequence[StepRecord]) -> None:
    """Write ``history.json``, whole or not at all.

    Raises:
        DiskFull: no space left; an earlier file is untouched.
    """
    atomic_write_json(path, [asdict(record) for record in history])


def read_history(path: str | Path) -> list[StepRecord]:
    """What :func:`write_history` wrote, or nothing where there is no file.

    Raises:
        ValueError: the file is damaged; says how.
    """
    path = Path(path)
    if not path.exists():
        return []
    names = {each.name for each in fields(StepRecord)}
    records = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if not isinstance(entry, dict) or set(entry) != names:
            raise ValueError("an entry is not a step's record")
        entry |= {name: tuple(entry[name]) for name in ("layers", *SERIES)}
        records.append(StepRecord(**entry))
    return records
