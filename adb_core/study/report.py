"""The files of a study: table, summary, figures; and the few lines that are printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import plots
from ..metrics.frontiers import Moment
from ..metrics.intervals import Interval
from ..recipes.others import VARIANTS
from ..system.files import atomic_write_json, atomic_write_text
from .plan import BASE, CEILING, METHOD, UNTRAINED, Plan
from .summary import summarize
from .table import cell_name, rows, write_table
from .tuning import effort, tuning_table, unequal

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
    """Write table.csv, summary.json, table.md and the figures; returns the summary.

    Raises:
        DiskFull: no space left; earlier files stay.
    """
    found = [row for cell in cells for row in rows(cell, plan)]
    write_table(found, folder / "table.csv")
    more = {"cells": fingerprints(cells), "effort": effort(cells, plan)}
    summary = summarize(found, plan, facts(known) | more)
    atomic_write_json(folder / "summary.json", summary)
    atomic_write_text(folder / "table.md", markdown(summary))
    if summary["tuning"]:
        text = tuning_table(summary["tuning"], summary["effort"])
        atomic_write_text(folder / "tuning.md", text)
    for name, figure in figures(summary).items():
        plots.to_png(figure, folder / f"{name}.png")
    return summary


def figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The frontier, and two scores against complexity, as far as there is something to draw.

    Two of each: the method beside the other methods, and beside what it is without one of its
    parts, with the base model and the ceiling in both.
    """
    drawn: dict[str, Any] = {}
    recipes = [name for name in summary["rows"] if name not in UNTRAINED]
    varied = [name for name in recipes if name.startswith("without_") or name in VARIANTS]
    groups = {"methods": [name for name in recipes if name not in varied]}
    groups["variants"] = [name for name in recipes if name == METHOD or name in varied]
    for group, names in groups.items():
        if group == "methods" or varied:
            drawn |= {f"{name}_{group}": f for name, f in _group_figures(summary, names)}
    return drawn


def _group_figures(summary: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(name, figure) of some recipes."""
    frontiers = summary["frontiers"]
    known = frontiers.get("recipes", {})
    curves = {name: [_moment(m) for m in known[name]] for name in names if name in known}
    if curves:
        yield "frontier", plots.frontier(curves, matched_text=frontiers["matched_text"])
    for score, title in (("joint", "joint score"), ("identity_share", "identity, of the ceiling")):
        rows = {name: summary["rows"].get(name) for name in (BASE, *names, CEILING)}
        found = {n: row["by_complexity"][score] for n, row in rows.items() if row}
        found = {name: levels for name, levels in found.items() if levels}
        series = {n: {int(k): _interval(i) for k, i in each.items()} for n, each in found.items()}
        points = {
            n: {int(k): list(i["concepts"].values()) for k, i in each.items()}
            for n, each in found.items()
        }
        if series:
            yield f"{score}_by_complexity", plots.by_complexity(series, score=title, points=points)


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
            out.append(
                f"{summary['method']} less {other}: joint {joint['mean']:+.3f}, Holm-corrected "
                f"{span(joint['corrected'], '+')}, p {joint['p_holm']:.3g}"
            )
    for name, family in summary["families"].items():
        if family["least_p_holm"] > family["alpha"]:
            out.append(
                f"{name}: {family['tests']} tests over {family['concepts']} concepts cannot reach "
                f"p {family['alpha']:g}, whatever they find: take more concepts, or fewer recipes"
            )
    return [*out, *unequal(summary["effort"])]


def span(ends: Sequence[float | None], sign: str = "") -> str:
    """An interval in brackets; an end that so few concepts cannot set is "...".

    Args:
        sign: "+" writes it before positive numbers too.
    """
    low, high = ("..." if end is None else f"{end:{sign}.3f}" for end in ends)
    return f"[{low}, {high}]"


def markdown(summary: Mapping[str, Any]) -> str:
    """Every score of every recipe, and every contrast, as tables in Markdown."""
    names = sorted({name for row in summary["rows"].values() for name in row["scores"]})
    out = ["Mean [95 % interval over concepts]", "", *_head(names)]
    for recipe, row in summary["rows"].items():
        found = [row["scores"].get(name) for name in names]
        texts = [i and f"{i['mean']:.3f} {span((i['low'], i['high']))}" for i in found]
        out.append(_row(recipe, texts))
    parts = {
        "all prompts": summary["method_minus"],
        "damage": summary["method_minus_damage"],
        "hard prompts": summary["method_minus_hard"],
        "frontiers": summary["frontiers"].get("method_minus", {}),
    }
    for name, contrasts in parts.items():
        if contrasts:
            count = summary["families"][name]["tests"]
            out += [
                "",
                f"{summary['method']} less another, {name}: mean [interval corrected by Holm over "
                f"{count} tests], corrected p",
                "",
                *_contrasts(contrasts),
            ]
    return "\n".join(out) + "\n"


def _contrasts(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table of contrasts: a row a recipe, a column a score."""
    scores = sorted({score for row in rows.values() for score in row})
    out = _head(scores)
    for recipe, row in rows.items():
        found = [row.get(score) for score in scores]
        texts = [
            c and f"{c['mean']:+.3f} {span(c['corrected'], '+')}, p {c['p_holm']:.3g}"
            for c in found
        ]
        out.append(_row(recipe, texts))
    return out


def _head(titles: Sequence[str]) -> list[str]:
    return [_row("recipe", titles), "|---" * (len(titles) + 1) + "|"]


def _row(name: str, texts: Sequence[str | None]) -> str:
    return f"| {name} | {' | '.join(text or '-' for text in texts)} |"


def fingerprints(cells: Sequence[dict]) -> dict[str, str]:
    """Of everything that each cell's numbers depend on, by the cell's name."""
    return {cell_name(cell): cell.get("fingerprint", "") for cell in cells}
