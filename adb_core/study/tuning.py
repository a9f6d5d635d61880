"""Tuning: every recipe at several learning rates and moments, with the same effort for each.

Learning rates are constant, so that a shorter training is the beginning of a longer one: one
training at a rate gives a setting at each of its moments. Every recipe is trained at the same
rates' factors, for the same steps in all, on the same concepts, seeds and prompts; what each of
them cost is written down beside what it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .numbers import Rows, interval, of_concepts
from .plan import UNTRAINED, Plan
from .table import ALL

SCORES = ("joint", "text", "identity_share", "leakage")
SAME = ("settings", "trainings", "steps", "pictures")  # of the effort: what nobody may have more of


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
        settings = (_setting(own, plan.long(recipe, rate), rate, step) for rate, step in keys)
        found[recipe] = sorted(settings, key=lambda s: (-s["joint"], -s["score"]))
    return found


def _setting(rows: Rows, trained: Any, rate: float, step: int) -> dict[str, Any]:
    """A setting as JSON says it; ``trained``: the recipe as it was trained."""
    here = [row for row in rows if (row["rate"], row["step"]) == (rate, step)]
    means = {n: float(np.mean(list(of_concepts(here, n).values()) or [0.0])) for n in SCORES}
    *earlier, last = trained.stages
    return {
        "rate": rate,
        "lr": last.lr,
        "step": step,
        "last_stage_steps": step - sum(stage.steps for stage in earlier),
        "runs": len(here),
        **{name: round(value, 5) for name, value in means.items()},
        "score": round(objective(means["text"], means["identity_share"]), 5),
        "intervals": {n: found for n in SCORES if (found := interval(here, n))},
    }


def objective(text: float, identity: float) -> float:
    """Geometric mean of two scores; one below 0 counts as none at all."""
    return float(np.sqrt(max(text, 0.0) * max(identity, 0.0)))


# ---------------------------------------------------------------- what it cost


def effort(cells: Iterable[Mapping[str, Any]], plan: Plan) -> dict[str, dict[str, Any]]:
    """What each recipe's tuning took.

    Returns:
        recipe -> settings that were tried, trainings, steps and samples of all of them, pictures
        that were judged, seconds of training.
    """
    found: dict[str, dict[str, Any]] = {}
    settings: dict[str, set] = {}
    for cell in cells:
        name = cell["recipe"]
        if name in UNTRAINED or len(plan.rates) < 2:
            continue
        mine = found.setdefault(
            name, dict.fromkeys((*SAME, "samples"), 0) | {"training_seconds": 0.0}
        )
        settings.setdefault(name, set()).update((cell["rate"], m["step"]) for m in cell["moments"])
        stages = plan.long(name, cell["rate"]).stages
        mine["settings"] = len(settings[name])
        mine["trainings"] += 1
        mine["steps"] += sum(stage.steps for stage in stages)
        mine["samples"] += sum(stage.steps * stage.batch_size for stage in stages)
        mine["pictures"] += sum(len(moment["prompts"]) for moment in cell["moments"])
        mine["training_seconds"] += cell.get("training_seconds", 0.0)
    return {name: {k: round(v, 1) for k, v in mine.items()} for name, mine in found.items()}


def unequal(efforts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each kind of effort that recipes differ in; none: it was the same for all."""
    out = []
    for kind in SAME:
        counts = {name: each[kind] for name, each in efforts.items()}
        if len(set(counts.values())) > 1:
            low, high = (pick(counts, key=counts.__getitem__) for pick in (min, max))
            out.append(
                f"unequal effort, {kind}: {low} had {counts[low]:g}, {high} {counts[high]:g}"
            )
    return out


# ---------------------------------------------------------------- as Markdown

HEADS = {
    "recipe": "", "learning rate": "lr", "steps": "step", "of the last stage": "last_stage_steps",
    "joint": "joint", "score": "score", "text": "text", "identity": "identity_share",
    "leakage": "leakage", "runs": "runs",
}  # fmt: skip


def tuning_table(
    settings: Mapping[str, Sequence[Mapping[str, Any]]],
    efforts: Mapping[str, Mapping[str, Any]],
) -> str:
    """Every setting of every recipe, the best of a recipe first; and what each recipe cost."""
    out = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for name, found in settings.items():
        for s in found:
            rate = f"{s['lr']:g} (x {s['rate']:g})"
            scores = " | ".join(f"{s[HEADS[k]]:.3f}" for k in list(HEADS)[4:-1])
            out.append(
                f"| {name} | {rate} | {s['step']} | {s['last_stage_steps']} | {scores} "
                f"| {s['runs']} |"
            )
    if efforts:
        kinds = list(next(iter(efforts.values())))
        out += ["", f"| recipe | {' | '.join(k.replace('_', ' ') for k in kinds)} |"]
        out += ["|---" * (len(kinds) + 1) + "|"]
        for name, each in efforts.items():
            out.append(f"| {name} | {' | '.join(f'{each[k]:.10g}' for k in kinds)} |")
        out += ["", *(unequal(efforts) or ["The effort was the same for every recipe."])]
    return "\n".join(out) + "\n"
