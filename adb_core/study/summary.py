"""What a study concludes: means with intervals over concepts, frontiers, corrected comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..metrics.frontiers import Moment, between, moments
from ..metrics.intervals import Interval, bootstrap
from ..metrics.significance import compare, concept_means
from .plan import BASE, METHOD, UNTRAINED, Plan
from .table import ALL

TEXT_MARGIN = 0.03  # identity is compared where text is within 3 points of the base model's
COMPARED = ("joint", "identity_share", "text", "word_dependence", "leakage", "map_distance", "iou")
LONG_SERIES = ("text", "identity_share", "joint")
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
        if row["recipe"] == recipe and row["at_preset"] and row["complexity"] == level
    ]


def hard_rows(table: Rows, recipe: str) -> list[Mapping[str, Any]]:
    """The rows of a recipe's complex prompts, where its preset ends."""
    levels = {row["complexity"] for row in table if row["complexity"] != ALL}
    return [r for n in levels if n >= HARD for r in preset_rows(table, recipe, n)]


# ---------------------------------------------------------------- the parts of a summary


def scores_of(table: Rows, recipe: str) -> dict[str, Any]:
    """Every score of a recipe, and the long ones by complexity."""
    rows = preset_rows(table, recipe)
    names = sorted({n for row in rows for n, v in row.items() if isinstance(v, float)})
    levels = sorted({row["complexity"] for row in table if row["complexity"] != ALL})
    return {
        "scores": {name: found for name in names if (found := interval(rows, name))},
        "by_complexity": {
            name: {
                str(level): found
                for level in levels
                if (found := interval(preset_rows(table, recipe, level), name))
            }
            for name in LONG_SERIES
        },
    }


def comparisons(table: Rows, recipes: Sequence[str], hard: bool = False) -> dict[str, Any]:
    """The method against every other recipe, score by score: one family of tests a score."""
    if METHOD not in recipes:
        return {}
    pick = hard_rows if hard else preset_rows
    found: dict[str, Any] = {}
    for score in LONG_SERIES if hard else COMPARED:
        ours = of_concepts(pick(table, METHOD), score)
        others = {r: of_concepts(pick(table, r), score) for r in recipes if r != METHOD}
        others = {r: each for r, each in others.items() if each.keys() & ours.keys()}
        for recipe, result in compare(ours, others).items() if ours and others else ():
            found.setdefault(recipe, {})[score] = {
                **plain(result.interval),
                "p": round(result.p, 6),
                "p_holm": round(result.p_holm, 6),
                "corrected": [round(result.corrected.low, 5), round(result.corrected.high, 5)],
            }
    return found


Curve = dict[str, dict[int, tuple[float, float]]]


def curves(table: Rows, recipe: str) -> Curve:
    """concept -> step -> (text, identity as a share of its ceiling), means over seeds.

    The base model is every recipe's beginning, step 0.
    """
    pairs: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for row in table:
        if row["complexity"] == ALL and row["recipe"] in (BASE, recipe):
            pair = (row.get("text"), row.get("identity_share"))
            if None not in pair:
                pairs.setdefault(row["concept"], {}).setdefault(row["step"], []).append(pair)
    averaged: Curve = {}
    for concept, by_step in pairs.items():
        means = {step: np.mean(heap, 0).tolist() for step, heap in sorted(by_step.items())}
        averaged[concept] = {step: (text, identity) for step, (text, identity) in means.items()}
    most = max((len(curve) for curve in averaged.values()), default=0)
    return {concept: curve for concept, curve in averaged.items() if len(curve) == most}


def frontiers(table: Rows, recipes: Sequence[str]) -> dict[str, Any]:
    """Every recipe's curve; and the method's against each other's, by area and at matched text."""
    found = {recipe: curves(table, recipe) for recipe in recipes}
    base = [curve[0][0] for curve in found[recipes[0]].values() if 0 in curve] if recipes else []
    if not base:
        return {}
    high = float(np.mean(base)) - TEXT_MARGIN
    low = min(text for c in found.values() for curve in c.values() for text, _ in curve.values())
    low = min(low, high - 0.05)
    result: dict[str, Any] = {"matched_text": round(high, 5), "text_range": [low, round(high, 5)]}
    result["recipes"] = {r: [_moment(m) for m in moments(c)] for r, c in found.items()}
    result["method_minus"] = {
        recipe: {name: plain(i) for name, i in between(found[METHOD], curve, low, high).items()}
        for recipe, curve in found.items()
        if METHOD in found and recipe != METHOD
    }
    return result


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "step": moment.step,
        "text": plain(moment.text),
        "identity_share": plain(moment.identity),
    }


def summarize(table: Iterable[Mapping[str, Any]], plan: Plan, facts: Mapping[str, Any]) -> dict:
    """Everything that a study concludes, as JSON says it.

    Args:
        table: of :func:`adb_core.study.table.rows`, of all cells that are there.
        facts: command, commit, instruments: what whoever repeats the study has to know.
    """
    rows = list(table)
    there = {row["recipe"] for row in rows}
    recipes = [name for name in plan.recipes if name in there]
    settings = asdict(plan) | {"prompts": [entry["prompt"] for entry in plan.prompts]}
    return {
        **facts,
        "plan": settings,
        "rows": {name: scores_of(rows, name) for name in [*UNTRAINED, *recipes] if name in there},
        "method": METHOD,
        "method_minus": comparisons(rows, recipes),
        "method_minus_hard": comparisons(rows, recipes, hard=True),
        "frontiers": frontiers(rows, recipes),
    }
