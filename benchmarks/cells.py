"""One cell of a comparison: one recipe trained on one concept with one seed, and measured.

A cell is one JSON file, written whole or not at all; a cell that is there and was made with the
same settings is not made again, so an interrupted comparison goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from adb_core.concept import Concept
from adb_core.judges import load_clip, load_judge
from adb_core.loading import BaseModelError
from adb_core.metrics import bootstrap, evaluate_result
from adb_core.personalization import personalize
from adb_core.recipes import Recipe
from adb_core.system.files import atomic_write_json
from adb_core.system.fingerprints import fingerprint, json_fingerprint
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
    weights = (p.detach().float().cpu().numpy().tobytes() for p in base.unet.parameters())
    return fingerprint(weights)[:16]


def read_cell(path: Path, wanted: str) -> dict | None:
    """A finished cell of the same settings, or None."""
    try:
        cell = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return cell if cell.get("fingerprint") == wanted else None


@dataclass(frozen=True)
class Bench:
    """What all cells of a comparison share.

    Attributes:
        model: :func:`weights_digest` of ``base``; tools: see :func:`tools`.
    """

    base: object
    prompts: Sequence[dict]
    tools: dict = field(default_factory=dict)
    model: str = ""

    def fingerprint(self, plan: Recipe | None, seeds: Sequence[int]) -> str:
        """What a cell depends on besides its concept and training seed."""
        settings = asdict(plan) if plan else "base"
        return json_fingerprint([FORMAT, self.model, settings, list(self.prompts), list(seeds)])[
            :16
        ]

    def make(
        self, path: Path, name: str, plan: Recipe | None, seed: int, seeds: Sequence[int]
    ) -> dict:
        """The cell at ``path``, made if it is not there.

        Args:
            name: of the concept; plan: None measures the base model.
            seed: of the training; seeds: of the pictures.
        """
        wanted = self.fingerprint(plan, seeds)
        cell = read_cell(path, wanted)
        if cell is not None:
            return cell
        concept = Concept.bundled(name)
        began = time.perf_counter()
        model = self.base if plan is None else personalize(self.base, concept, plan, seed=seed)
        trained = time.perf_counter()
        cell = evaluate_result(model, self.prompts, seeds, concept=concept, **self.tools)
        stages = plan.stages if plan else ()
        cell |= {
            "fingerprint": wanted,
            "train_seed": seed,
            "settings": asdict(plan) if plan else None,
            "effort": {
                "train_seconds": trained - began,
                "measure_seconds": time.perf_counter() - trained,
                "steps": sum(s.steps for s in stages),
                "samples": sum(s.steps * s.batch_size for s in stages),
            },
        }
        atomic_write_json(path, cell)
        return cell


def pooled(cells: Sequence[dict], score: str):
    """A score over cells with its interval.

    Whole concepts are drawn, since their pictures are not independent.

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
    """How much higher a score is in ``cells`` than in ``others``.

    Picture by picture of the same concept, seed and prompt: what makes one concept harder than
    another drops out, so that this interval is narrower than the two scores' own.

    Returns:
        An :class:`adb_core.metrics.Interval`, or None without pairs.
    """
    by_run = {
        (cell["concept"], cell["train_seed"]): cell["values"].get(score, []) for cell in others
    }
    pairs = []
    for cell in cells:
        ours = cell["values"].get(score, [])
        theirs = by_run.get((cell["concept"], cell["train_seed"]), [])
        both = zip(ours, theirs, strict=False)  # a score may be missing on one side
        pairs += [(a - b, cell["concept"]) for a, b in both if None not in (a, b)]
    return bootstrap([d for d, _ in pairs], groups=[g for _, g in pairs]) if pairs else None


def table(rows: dict[str, Sequence[dict]], columns: dict[str, str]) -> str:
    """A Markdown table: one row a recipe, one column a score (name -> title), mean [low, high]."""
    return rule(
        {name: [pooled(cells, score) for score in columns] for name, cells in rows.items()},
        list(columns.values()),
    )


def rule(intervals: dict[str, list], titles: Sequence[str], sign: str = "") -> str:
    """A Markdown table of intervals, "-" where there is none.

    ``sign`` "+" writes it before positive numbers too.
    """
    lines = ["| recipe | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for name, row in intervals.items():
        texts = [
            f"{i.mean:{sign}.3f} [{i.low:{sign}.3f}, {i.high:{sign}.3f}]" if i else "-" for i in row
        ]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines)
