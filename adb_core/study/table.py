"""Every number of a study as one tidy table: an observation a row, a variable a column.

A row is one recipe, concept, training seed, learning rate and moment, and one complexity of the
prompts ("all": what is not divided by it). Scores are means over the row's pictures.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics.truth import complexity
from ..system.files import atomic_write_text
from .plan import Plan

KEYS = (
    "recipe", "concept", "half", "seed", "rate", "step", "at_preset", "complexity", "pictures",
)  # fmt: skip
ALL = "all"


def rows(cell: dict, plan: Plan) -> Iterable[dict[str, Any]]:
    """The rows of a finished cell."""
    levels = [complexity(asked) for asked in plan.asks]
    for moment in cell["moments"]:
        of = np.array([levels[k] for k in moment["prompts"]])
        preset = int(moment["step"] == cell["preset"])
        whole = {"leakage": mean(moment["leakage"])}
        if preset:
            final = (cell["final"] or {"values": {}})["values"]
            whole |= {name: mean(values) for name, values in final.items()}
        for level in [ALL, *sorted(set(of.tolist()))]:
            chosen = np.ones(len(of), bool) if level == ALL else of == level
            scores = {
                name: mean([v for v, take in zip(values, chosen, strict=True) if take])
                for name, values in moment["pictures"].items()
            }
            yield {
                **{key: cell[key] for key in ("recipe", "concept", "half", "seed", "rate")},
                "step": moment["step"],
                "at_preset": preset,
                "complexity": level,
                "pictures": int(chosen.sum()),
                **scores,
                **(whole if level == ALL else {}),
            }


def cell_name(cell: Mapping[str, Any]) -> str:
    """ "recipe,concept,seed", and the learning rate's factor where it is not 1."""
    rate = "" if cell["rate"] == 1 else f",{cell['rate']:g}"
    return f"{cell['recipe']},{cell['concept']},{cell['seed']}{rate}"


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the numbers among them; None where there is none."""
    numbers = [v for v in values if v is not None]
    return round(float(np.mean(numbers)), 5) if numbers else None


def write_table(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Rows as CSV; a score that a row has not is empty.

    Raises:
        DiskFull: no space left; an earlier table stays.
    """
    scores = sorted({name for row in found for name in row} - set(KEYS))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*KEYS, *scores], lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    atomic_write_text(path, stream.getvalue())
