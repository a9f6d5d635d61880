"""The files of a study: table, summary, figures; and the few lines that are printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import plots
from ..metrics.frontiers import Moment
from ..metrics.intervals import Interval
from ..system.files import atomic_write_json
from .plan import Plan
from .summary import summarize
from .table import rows, write_table

SHOWN = ("joint", "identity_share", "text", "word_dependence", "leakage", "map_distance")


def commit_of(folder: Path) -> str | None:
    """The commit that a checkout stands at, with "+" if files have changed since; None: no git."""
    try:
        git = ["git", "-C", str(folder)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def facts(known: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever repeats a study has to know: the command, the commit, the instruments."""
    command = " ".join(["adb", *sys.argv[1:]])
    commit = commit_of(Path(__file__).resolve().parents[2])
    return {"command": command, "commit": commit, "known": dict(known)}


def write_report(
    cells: Sequence[dict], plan: Plan, known: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Write table.csv, summary.json and the figures; returns the summary.

    Raises:
        DiskFull: no space left; earlier files stay.
    """
    found = [row for cell in cells for row in rows(cell, plan)]
    write_table(found, folder / "table.csv")
    summary = summarize(found, plan, facts(known))
    atomic_write_json(folder / "summary.json", summary)
    for name, figure in figures(summary).items():
        plots.to_png(figure, folder / f"{name}.png")
    return summary


def figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The frontier, and two scores against complexity, as far as there is something to draw."""
    drawn: dict[str, Any] = {}
    frontiers = summary["frontiers"]
    if frontiers:
        curves = {name: [_moment(m) for m in each] for name, each in frontiers["recipes"].items()}
        drawn["frontier"] = plots.frontier(curves, matched_text=frontiers["matched_text"])
    for score, title in (("joint", "joint score"), ("identity_share", "identity, of the ceiling")):
        series, points = {}, {}
        for name, row in summary["rows"].items():
            levels = row["by_complexity"].get(score)
            if levels:
                series[name] = {int(n): _interval(found) for n, found in levels.items()}
                points[name] = {int(n): list(i["concepts"].values()) for n, i in levels.items()}
        if series:
            drawn[f"{score}_by_complexity"] = plots.by_complexity(
                series, score=title, points=points
            )
    return drawn


def _interval(found: Mapping[str, Any]) -> Interval:
    return Interval(found["mean"], found["low"], found["high"], found["count"])


def _moment(found: Mapping[str, Any]) -> Moment:
    return Moment(found["step"], _interval(found["text"]), _interval(found["identity_share"]))


def lines(summary: Mapping[str, Any]) -> list[str]:
    """The table that is printed: a row a recipe, mean [low, high] over concepts."""
    width = max(len(name) for name in summary["rows"])
    out = ["mean [95 % interval over concepts]", " " * width + "".join(f"  {s:<22}" for s in SHOWN)]
    for name, row in summary["rows"].items():
        texts = []
        for score in SHOWN:
            found = row["scores"].get(score)
            text = "-"
            if found:
                text = f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            texts.append(f"  {text:<22}")
        out.append((name.ljust(width) + "".join(texts)).rstrip())
    for other, scores in summary["method_minus"].items():
        joint = scores.get("joint")
        if joint:
            low, high = joint["corrected"]
            out.append(
                f"{summary['method']} less {other}: joint {joint['mean']:+.3f}, Holm-corrected "
                f"[{low:+.3f}, {high:+.3f}], p {joint['p_holm']:.3g}"
            )
    return out
