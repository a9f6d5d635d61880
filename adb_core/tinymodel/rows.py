"""The table of an evaluation: one line a measurement, with its interval and its bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..metrics.intervals import wilson


@dataclass(frozen=True)
class Row:
    """One line of the table. ``low`` and ``high``: 95 % interval, None where there is none."""

    group: str
    what: str
    value: float
    bar: float | None
    unit: str = "share"
    count: int = 0
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    @property
    def passed(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value <= self.bar if self.unit == "s" else self.value >= self.bar


def share_row(
    group: str, what: str, hits: list[bool] | np.ndarray, bar: float | None, **more
) -> Row:
    """A share with its Wilson interval."""
    count, found = len(hits), int(np.sum(hits))
    low, high = wilson(found, count)
    return Row(
        group,
        what,
        found / count if count else float("nan"),
        bar,
        count=count,
        low=low,
        high=high,
        **more,
    )


def show(value: float, unit: str) -> str:
    """A number as people read it, in its unit."""
    if value != value:
        return "-"
    return {
        "share": f"{100 * value:.1f} %",
        "dB": f"{value:.2f} dB",
        "s": f"{value:.2f} s",
        "AUC": f"{value:.4f}",
        "cosine": f"{value:.3f}",
        "number": f"{value:.3g}",
    }[unit]


def table(results: dict) -> str:
    """The table as text, one line a row."""
    lines, group = [], None
    for row in results["rows"]:
        if row["group"] != group:
            group = row["group"]
            lines.append(group)
        lines.append(_line(row))
    return "\n".join(lines)


def _line(row: dict) -> str:
    def said(key: str) -> str:
        return show(row[key], row["unit"])

    mark = {True: "pass", False: "FAIL", None: ""}[row["passed"]]
    sign = "<= " if row["unit"] == "s" else ">= "
    bar = "" if row["bar"] is None else sign + said("bar")
    span = "" if row["low"] is None else f"[{said('low')}, {said('high')}]"
    chance = "" if row["chance"] is None else f"chance {said('chance')}"
    return (
        f"  {row['what']:<54} {said('value'):>9}  {span:<20} {bar:<11} {mark:<4}  "
        f"n={row['count']} {chance}"
    ).rstrip()
