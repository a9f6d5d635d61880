"""One cell of a comparison: train one recipe on one concept with one seed, measure it, keep the numbers.

A cell is one JSON file, written whole or not at all; a cell that is there and was made with the
same settings is not made again, so an interrupted comparison goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from adb_core.concept import Concept
from adb_core.judges import load_clip, load_judge
from adb_core.loading import BaseModelError
from adb_core.metrics import bootstrap, evaluate_result
from adb_core.personalization import personalize
from adb_core.recipes import Recipe
from adb_core.system.files import atomic_write_json
from adb_core.system.paths import data_path

FORMAT = 1


def tools(base) -> dict:
    """The bundled judge and CLIP, or one line that says what is missing."""
    try:
        return {"judge": load_judge(str(base.device)), "clip": load_clip(device=str(base.device))}
    except BaseModelError as error:
        sys.exit(f"this benchmark needs the bundled judge and CLIP: {error}")


def prompt_set(name: str, count: int | None = None) -> list[dict]:
    """The entries of a bundled prompt set, evenly thinned to ``count``."""
    entries = json.loads(data_path("prompts", f"{name}.json").read_text())["prompts"]
    if count is None or count >= len(entries):
        return entries
    return [entries[k * len(entries) // count] for k in range(count)]


def weights_digest(base) -> str:
    """Which base model this is: a hash of its U-Net's weights."""
    digest = hashlib.sha256()
    for parameter in base.unet.parameters():
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def fingerprint(
    model: str, plan: Recipe | None, prompts: Sequence[dict], seeds: Sequence[int]
) -> str:
    """What a cell depends on besides its concept and training seed."""
    said = json.dumps(
        [FORMAT, model, asdict(plan) if plan else "base", list(prompts), list(seeds)],
        sort_keys=True,
    )
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def read_cell(path: Path, wanted: str) -> dict | None:
    """A finished cell of the same settings, or None."""
    try:
        cell = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return cell if cell.get("fingerprint") == wanted else None


def make_cell(
    path: Path,
    base,
    name: str,
    plan: Recipe | None,
    seed: int,
    prompts,
    seeds,
    model: str,
    found: dict,
) -> dict:
    """The cell at ``path``, made if it is not there. ``plan`` None measures the base model."""
    wanted = fingerprint(model, plan, prompts, seeds)
    cell = read_cell(path, wanted)
    if cell is not None:
        return cell
    concept = Concept.bundled(name)
    began = time.perf_counter()
    result = base if plan is None else personalize(base, concept, plan, seed=seed)
    trained = time.perf_counter()
    cell = evaluate_result(result, prompts, seeds, concept=concept, **found)
    cell |= {
        "fingerprint": wanted,
        "train_seed": seed,
        "settings": asdict(plan) if plan else None,
        "effort": {
            "train_seconds": trained - began,
            "measure_seconds": time.perf_counter() - trained,
            "steps": sum(s.steps for s in plan.stages) if plan else 0,
            "samples": sum(s.steps * s.batch_size for s in plan.stages) if plan else 0,
        },
    }
    atomic_write_json(path, cell)
    return cell


def pooled(cells: Sequence[dict], score: str):
    """A score over cells with its interval; whole concepts are drawn, since their pictures are not independent.

    Returns:
        An :class:`adb_core.metrics.Interval`, or None where no cell has it.
    """
    pairs = [
        (value, cell["concept"])
        for cell in cells
        for value in cell["values"].get(score, [])
        if value is not None
    ]
    return bootstrap([v for v, _ in pairs], groups=[g for _, g in pairs]) if pairs else None


def paired(cells: Sequence[dict], others: Sequence[dict], score: str):
    """How much higher a score is in ``cells`` than in ``others``, picture by picture of the same concept, seed and prompt.

    What makes one concept harder than another drops out, so that this interval is narrower than
    the two scores' own. Returns an :class:`adb_core.metrics.Interval`, or None without pairs.
    """
    by_run = {
        (cell["concept"], cell["train_seed"]): cell["values"].get(score, []) for cell in others
    }
    pairs = [
        (a - b, cell["concept"])
        for cell in cells
        for a, b in zip(
            cell["values"].get(score, []), by_run.get((cell["concept"], cell["train_seed"]), [])
        )
        if a is not None and b is not None
    ]
    return bootstrap([d for d, _ in pairs], groups=[g for _, g in pairs]) if pairs else None


def table(rows: dict[str, Sequence[dict]], columns: dict[str, str]) -> str:
    """A Markdown table: one row a recipe, one column a score (name -> title), mean [low, high]."""
    return rule(
        {name: [pooled(cells, score) for score in columns] for name, cells in rows.items()},
        list(columns.values()),
    )


def rule(found: dict[str, list], titles: Sequence[str], sign: str = "") -> str:
    """A Markdown table of intervals, None where there is none; ``sign`` "+" writes it before positive numbers too."""
    lines = ["| recipe | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for name, row in found.items():
        lines.append(
            f"| {name} | "
            + " | ".join(
                f"{i.mean:{sign}.3f} [{i.low:{sign}.3f}, {i.high:{sign}.3f}]" if i else "-"
                for i in row
            )
            + " |"
        )
    return "\n".join(lines)
