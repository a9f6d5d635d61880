"""The losses of a stage: kept as tensors, read and averaged now and then, written as a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..system.files import atomic_write_text

Extras = dict[str, "float | Tensor"]


class Journal:
    """One row about every ten seconds, in ``history.csv``.

    Attributes:
        rows: step, seconds, loss, gradient norm and the extras, means since the row before.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, []
        # Kept as tensors: reading a number each step would make a GPU wait.
        self._pending: list[tuple[Tensor, Tensor, Extras]] = []

    def add(self, loss: Tensor, norm: Tensor, extras: Extras) -> None:
        """Keep one step's scalars."""
        self._pending.append((loss.detach(), norm.detach(), extras))

    def __bool__(self) -> bool:
        """Whether steps were added since the last row."""
        return bool(self._pending)

    def first_bad(self) -> int | None:
        """How many steps ago the first one was whose loss or gradient is not finite, or None."""
        bad = ~(self._read(0).isfinite() & self._read(1).isfinite())
        return len(self._pending) - int(bad.nonzero()[0, 0]) if bad.any() else None

    def close_row(self, step: int, seconds: float) -> dict[str, float]:
        """Make a row of what was added since the last one, and write the table."""
        row = {
            "step": step,
            "seconds": round(seconds, 1),
            "loss": float(self._read(0).mean()),
            "grad_norm": float(self._read(1).mean()),
        }
        for key in self._pending[-1][2]:
            row[key] = float(
                np.mean([float(extras[key]) for _, _, extras in self._pending if key in extras])
            )
        self._pending.clear()
        self.rows.append(row)
        self.write()
        return row

    def _read(self, which: int) -> Tensor:
        return torch.stack([entry[which] for entry in self._pending]).float().cpu()

    def write(self) -> None:
        """All rows to the file, if there are any."""
        if not self.rows:
            return
        text = io.StringIO()
        columns = list(dict.fromkeys(k for row in self.rows for k in row))
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write_text(self.path, text.getvalue())


def numbers(row: dict[str, float]) -> dict[str, float]:
    """What a row measured: all but step and seconds."""
    return {k: v for k, v in row.items() if k not in ("step", "seconds")}
