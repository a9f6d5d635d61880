"""Rows of a study's table as means over concepts; intervals and comparisons as JSON says them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.contrasts import Comparison
from ..metrics.intervals import Interval, bootstrap
from ..metrics.significance import concept_means
from .table import ALL

HARD = 3  # complexity from which on prompts count as complex

Rows = Sequence[Mapping[str, Any]]


def of_concepts(rows: Rows, score: str) -> dict[str, float]:
    """Concept -> mean of a score over its seeds, where it has one."""
    values = [(row.get(score), row["concept"]) for row in rows]
    return concept_means([v for v, _ in values], [c for _, c in values])


def interval(rows: Rows, score: str) -> dict | None:
    """Mean over concepts with its interval, and every concept's own value; None without any."""
    each = of_concepts(rows, score)
    if not each:
        return None
    return {**plain(bootstrap(list(each.values()))), "concepts": rounded_dict(each)}


def plain(interval: Interval) -> dict[str, float]:
    """An interval as JSON says it."""
    return {name: round(value, 5) for name, value in interval._asdict().items()}


def rounded_dict(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in sorted(values.items())}


def preset_rows(table: Rows, recipe: str, level: Any = ALL) -> list[Mapping[str, Any]]:
    """The rows of a recipe where its preset ends."""
    return [
        row
        for row in table
        if (row["recipe"], row["rate"], row["complexity"]) == (recipe, 1.0, level)
        and row["at_preset"]
    ]


def hard_rows(table: Rows, recipe: str) -> list[Mapping[str, Any]]:
    """The rows of a recipe's complex prompts, where its preset ends."""
    levels = {row["complexity"] for row in table if row["complexity"] != ALL}
    return [r for n in levels if n >= HARD for r in preset_rows(table, recipe, n)]


def compared(result: Comparison) -> dict[str, Any]:
    """A comparison as JSON says it: mean difference, plain interval, p, p_holm, corrected interval.

    An end that so few concepts cannot set is None.
    """
    return {
        **plain(result.interval),
        "p": round(result.p, 6),
        "p_holm": round(result.p_holm, 6),
        "corrected": [_end(result.corrected.low), _end(result.corrected.high)],
    }


def _end(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
