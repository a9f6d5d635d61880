"""What a study concludes: means with intervals over concepts, frontiers, corrected comparisons.

The method is compared with every other recipe, and the tests are in four families. Each is
corrected by Holm as a whole, over all of its scores and all recipes, for it is read as a whole:

- "all prompts":  the primary scores, in which a method is better or worse
- "damage":       what training may have spoiled, on all prompts. A family of its own: whoever asks
                  whether a recipe is better does not look for it here, and its six scores would
                  take from the primary ones more than half of their power.
- "hard prompts": the primary scores that single prompts have, where at least three things are
                  asked for: the claim of the paper
- "frontiers":    area between curves, and identity at matched text

A reader of all four has made four families' worth of tests: what is below 0.05 in one of them is
below 0.2 of the whole summary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..metrics.contrasts import Comparison, Family, compare
from ..metrics.significance import ALPHA
from .curves import frontiers
from .numbers import Rows, compared, hard_rows, interval, of_concepts, preset_rows
from .plan import METHOD, UNTRAINED, Plan
from .table import ALL, KEYS
from .tuning import tuning

PRIMARY = ("joint", "identity_share", "text", "word_dependence")
DAMAGE = ("leakage", "pose_leakage", "drift_others", "diversity", "map_distance", "iou")
LONG_SERIES = ("text", "identity_share", "joint")  # what every prompt has


# ---------------------------------------------------------------- the parts of a summary


def scores_of(table: Rows, recipe: str) -> dict[str, Any]:
    """Every score of a recipe, and the long ones by complexity."""
    rows = preset_rows(table, recipe)
    names = sorted({n for row in rows for n, v in row.items() if isinstance(v, float)} - {*KEYS})
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


def comparisons(
    table: Rows, recipes: Sequence[str], scores: Sequence[str] = PRIMARY, hard: bool = False
) -> dict[str, dict[str, Comparison]]:
    """The method against every other recipe in every score: one family of tests.

    Args:
        hard: of complex prompts alone.

    Returns:
        recipe -> score -> comparison.
    """
    if METHOD not in recipes:
        return {}
    pick = hard_rows if hard else preset_rows
    each = {
        name: {score: of_concepts(rows, score) for score in scores}
        for name in recipes
        if (rows := pick(table, name))
    }
    ours = each.pop(METHOD, {})
    return compare(ours, each)


def families(table: Rows, recipes: Sequence[str]) -> dict[str, dict[str, dict[str, Comparison]]]:
    """The three families of tests at the presets' ends, by name."""
    return {
        "all prompts": comparisons(table, recipes),
        "damage": comparisons(table, recipes, DAMAGE),
        "hard prompts": comparisons(table, recipes, LONG_SERIES, hard=True),
    }


def stated(family: Mapping[str, Mapping[str, Comparison]]) -> dict[str, Any]:
    """A family as JSON says it."""
    return {
        recipe: {score: compared(found) for score, found in row.items()}
        for recipe, row in family.items()
    }


def facts_of(family: Mapping[str, Mapping[str, Comparison]]) -> dict[str, Any]:
    """How many tests a family has, and the smallest corrected p that it can find at all."""
    found = Family.of(c for row in family.values() for c in row.values())
    return {**found._asdict(), "alpha": ALPHA}


def summarize(table: Iterable[Mapping[str, Any]], plan: Plan, facts: Mapping[str, Any]) -> dict:
    """Everything that a study concludes, as JSON says it.

    Args:
        table: of :func:`adb_core.study.table.rows`, of all cells that are there.
        facts: command, commit, instruments: what whoever repeats the study has to know.
    """
    rows = list(table)
    there = {row["recipe"] for row in rows}
    recipes = [name for name in plan.recipes if name in there]
    tests = families(rows, recipes)
    fronts, above = frontiers(rows, plan, recipes)
    return {
        **facts,
        "plan": asdict(plan),
        "rows": {name: scores_of(rows, name) for name in [*UNTRAINED, *recipes] if name in there},
        "method": METHOD,
        "families": {n: facts_of(f) for n, f in {**tests, "frontiers": above}.items() if f},
        "method_minus": stated(tests["all prompts"]),
        "method_minus_damage": stated(tests["damage"]),
        "method_minus_hard": stated(tests["hard prompts"]),
        "frontiers": fronts,
        "tuning": tuning(rows, plan),
    }
