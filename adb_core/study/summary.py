"""What a study concludes: means with intervals over concepts, frontiers, corrected comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..metrics.frontiers import Moment, between, matched, moments
from ..metrics.intervals import Interval, bootstrap
from ..metrics.significance import Comparison, compare, concept_means
from .plan import BASE, METHOD, UNTRAINED, Plan
from .table import ALL

TEXT_MARGIN = 0.03  # identity is compared where text is within 3 points of the base model's
COMPARED = (
    "joint", "identity_share", "text", "word_dependence", "leakage", "pose_leakage", "diversity",
    "drift_others", "map_distance", "iou",
)  # fmt: skip
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
        if (row["recipe"], row["rate"], row["complexity"]) == (recipe, 1.0, level)
        and row["at_preset"]
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
            found.setdefault(recipe, {})[score] = compared(result)
    return found


def compared(result: Comparison) -> dict[str, Any]:
    """A comparison as JSON says it."""
    return {
        **plain(result.interval),
        "p": round(result.p, 6),
        "p_holm": round(result.p_holm, 6),
        "corrected": [round(result.corrected.low, 5), round(result.corrected.high, 5)],
    }


Curve = dict[str, dict[int, tuple[float, float]]]


def curves(table: Rows, recipe: str) -> Curve:
    """concept -> step -> (text, identity as a share of its ceiling), means over seeds.

    The base model is every recipe's beginning, step 0.
    """
    pairs: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for row in table:
        if (row["complexity"], row["rate"]) == (ALL, 1.0) and row["recipe"] in (BASE, recipe):
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
    """Every recipe's curve; and the method's against each other's, by area and at matched text.

    Each of these two is one family of tests, corrected by Holm.
    """
    found = {recipe: curves(table, recipe) for recipe in recipes}
    base = [curve[0][0] for curve in found[recipes[0]].values() if 0 in curve] if recipes else []
    if not base:
        return {}
    high = float(np.mean(base)) - TEXT_MARGIN
    low = min(text for c in found.values() for curve in c.values() for text, _ in curve.values())
    low = min(low, high - 0.05)
    result: dict[str, Any] = {"matched_text": round(high, 5), "text_range": [low, round(high, 5)]}
    result["identity_at_matched_text"] = {r: plain(matched(c, high)) for r, c in found.items()}
    result["recipes"] = {r: [_moment(m) for m in moments(c)] for r, c in found.items()}
    others = {r: curve for r, curve in found.items() if r != METHOD}
    result["method_minus"] = (
        {
            recipe: {measure: compared(found) for measure, found in measures.items()}
            for recipe, measures in between(found[METHOD], others, low, high).items()
        }
        if METHOD in found
        else {}
    )
    return result


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "step": moment.step,
        "text": plain(moment.text),
        "identity_share": plain(moment.identity),
    }


# ---------------------------------------------------------------- tuning


def tuning(table: Rows, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Every setting of every recipe, best first: a factor of the learning rate, and a moment.

    A setting is as good as its joint score, then as the geometric mean of text and identity, so
    that neither can buy the other. Nothing where there is one rate: that is no tuning.
    """
    if len(plan.rates) < 2:
        return {}
    found = {}
    for recipe in plan.recipes:
        own = [row for row in table if row["recipe"] == recipe and row["complexity"] == ALL]
        keys = sorted({(row["rate"], row["step"]) for row in own})
        found[recipe] = sorted((_setting(own, *key) for key in keys), key=lambda s: s["rank"])
        for setting in found[recipe]:
            setting.pop("rank")
    return found


def _setting(rows: Rows, rate: float, step: int) -> dict[str, Any]:
    here = [row for row in rows if (row["rate"], row["step"]) == (rate, step)]
    names = ("joint", "text", "identity_share", "leakage")
    scores = {n: float(np.mean(list(of_concepts(here, n).values()) or [0.0])) for n in names}
    both = np.sqrt(max(scores["text"], 0.0) * max(scores["identity_share"], 0.0))
    return {
        "rate": rate,
        "step": step,
        "runs": len(here),
        **{name: round(value, 5) for name, value in scores.items()},
        "rank": (-scores["joint"], -both),
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
        "tuning": tuning(rows, plan),
    }
