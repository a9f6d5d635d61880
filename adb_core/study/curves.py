"""A study's frontiers: every recipe's curve of text and identity, and how far ours lies above.

A recipe's curve is the mean over concepts of what was measured at each moment of its training. It
begins at the base model, which is every recipe after no step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics.contrasts import Comparison
from ..metrics.frontiers import Moment, between, matched, moments
from .numbers import Rows, compared, plain
from .plan import BASE, METHOD, Plan
from .table import ALL

TEXT_MARGIN = 0.03  # identity is compared where text is within 3 points of the base model's

Curve = dict[str, dict[int, tuple[float, float]]]
Family = Mapping[str, Mapping[str, Comparison]]


def curves(table: Rows, recipe: str, steps: Sequence[int]) -> Curve:
    """concept -> step -> (text, identity as a share of its ceiling), means over seeds.

    Args:
        steps: that a curve has, as :meth:`Plan.positions` says; a concept that was not measured
            after each of them has no curve.
    """
    pairs: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for row in table:
        if (row["complexity"], row["rate"]) == (ALL, 1.0) and row["recipe"] in (BASE, recipe):
            pair = (row.get("text"), row.get("identity_share"))
            if None not in pair:
                pairs.setdefault(row["concept"], {}).setdefault(row["step"], []).append(pair)
    found: Curve = {}
    for concept, by_step in pairs.items():
        if set(steps) <= by_step.keys():
            means = {step: np.mean(by_step[step], 0).tolist() for step in sorted(set(steps))}
            found[concept] = {step: (text, identity) for step, (text, identity) in means.items()}
    return found


def aligned(curve: Curve, steps: Sequence[int]) -> Curve:
    """The same curves by the number of the moment instead of its step.

    All recipes of a plan have as many moments, each after the same share of its training; where two
    of them fall on one step, as the preset's end may, that moment counts twice, which changes no
    envelope. So any two recipes' curves can take each other's place in a test.
    """
    return {c: {k: points[step] for k, step in enumerate(steps)} for c, points in curve.items()}


def frontiers(
    table: Rows, plan: Plan, recipes: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Comparison]]]:
    """Every recipe's curve; and the method's against each other's, by area and at matched text.

    Returns:
        all of it as JSON says it, and the comparisons, which are one family of tests. Both empty
        where no recipe has a curve.
    """
    steps = {recipe: plan.positions(recipe) for recipe in recipes}
    found = {recipe: curves(table, recipe, steps[recipe]) for recipe in recipes}
    found = {recipe: curve for recipe, curve in found.items() if curve}
    if not found:
        return {}, {}
    base = {c: curve[0][0] for each in found.values() for c, curve in each.items()}
    high = float(np.mean(list(base.values()))) - TEXT_MARGIN
    low = min(text for c in found.values() for curve in c.values() for text, _ in curve.values())
    low = min(low, high - 0.05)
    lined = {recipe: aligned(curve, steps[recipe]) for recipe, curve in found.items()}
    above = _above(lined, low, high)
    return {
        "matched_text": round(high, 5),
        "text_range": [low, round(high, 5)],
        "identity_at_matched_text": {r: plain(matched(c, high)) for r, c in found.items()},
        "recipes": {r: [_moment(m) for m in moments(c)] for r, c in found.items()},
        "concepts": {recipe: sorted(curve) for recipe, curve in found.items()},
        "method_minus": {
            recipe: {measure: compared(c) for measure, c in measures.items()}
            for recipe, measures in above.items()
        },
    }, above


def _above(lined: Mapping[str, Curve], low: float, high: float) -> dict[str, Any]:
    """The method's frontier against each other's that has a concept in common with it."""
    ours = lined.get(METHOD, {})
    others = {r: c for r, c in lined.items() if r != METHOD and c.keys() & ours.keys()}
    return between(ours, others, low, high) if others else {}


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "step": moment.step,
        "text": plain(moment.text),
        "identity_share": plain(moment.identity),
    }
