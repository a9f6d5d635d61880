"""The comparison of recipes: concepts x seeds x complex prompts, with bootstrap intervals.

    python benchmarks/compare_recipes.py [--split held_out] [--recipes NAME]... [--seeds 0]...
        [--publish]

Each cell (recipe, concept, seed) is one JSON file under out/compare/<split>/; run again to go on
after an interruption. The held-out half is for reporting: tune with tune.py, on the other half.
``--publish`` also writes the table's numbers to data/results/<split>.json, which notebook 09 shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import torch
import typer
from cells import Bench, paired, pooled, prompt_set, rule, table, tools, weights_digest
from timing import bundled_base
from tqdm import tqdm

from adb_core.concept import bundled_concepts
from adb_core.recipes import RECIPES, recipe
from adb_core.system.commands import InputError, run_command
from adb_core.system.files import atomic_write_json, atomic_write_text
from adb_core.system.paths import data_dir

BASE, METHOD = "base", "attndreambooth"
COMPARED = (
    "text",
    "identity",
    "leakage",
    "pointing",
    "iou",
)  # what the method is compared in, pair by pair
DEFAULT = (
    BASE,
    "textual_inversion",
    "dreambooth",
    "ti_dreambooth",
    "attndreambooth",
    "attndreambooth_fast",
    "without_regularizer",
    "without_stage_1",
    "without_stage_2",
    "without_stage_3",
)
COLUMNS = {
    "text": "text",
    "identity": "identity",
    "clip_t": "CLIP-T",
    "clip_i": "CLIP-I",
    "category": "category kept",
    "leakage": "background leakage",
    "leakage_named": "the same, named places",
    "pointing": "[V] on the subject",
    "iou": "IoU of [V]",
    "ratio": "[V] / category",
    "overlap_others": "overlap with other words",
    "drift_pixels": "drift (pixels)",
    "drift_clip_i": "drift (CLIP-I)",
}


class Half(Enum):
    """Of the bundled concepts."""

    tuning = "tuning"
    held_out = "held_out"


class Prompts(Enum):
    """Bundled prompt sets."""

    simple = "simple"
    compositional = "compositional"
    complex = "complex"


@dataclass(frozen=True)
class Comparison:
    """What is compared: recipes on concepts, with training seeds, on one prompt set.

    Attributes:
        images: pictures of each prompt in each cell.
    """

    bench: Bench
    split: str
    concepts: Sequence[str]
    recipes: Sequence[str]
    seeds: Sequence[int]
    prompts: str
    images: int

    def run(self, out: Path) -> dict[str, list[dict]]:
        """Every cell, recipe by recipe within a concept and seed: a stopped run is balanced."""
        jobs = [(s, n, w) for s in self.seeds for n in self.concepts for w in self.recipes]
        rows: dict[str, list[dict]] = {which: [] for which in self.recipes}
        for seed, name, which in tqdm(jobs, unit="cell"):
            plan = None if which == BASE else recipe(which)
            # The pictures' seeds differ between training seeds: all of them are different noise.
            seeds = [100 * seed + k for k in range(self.images)]
            path = out / self.split / which / f"{name}-{seed}.json"
            rows[which].append(self.bench.make(path, name, plan, seed, seeds))
        return rows

    def summary(self, rows: dict[str, list[dict]]) -> dict:
        """The table's numbers as JSON says them, with what they were measured on."""
        count = len(self.bench.prompts)
        return {
            "split": self.split,
            "concepts": sorted({cell["concept"] for cells in rows.values() for cell in cells}),
            "seeds": list(self.seeds),
            "prompts": {"set": self.prompts, "count": count, "images": self.images},
            "base": self.bench.model,
            "recipes": {
                which: {score: i._asdict() for score in COLUMNS if (i := pooled(cells, score))}
                for which, cells in rows.items()
            },
            "method_minus": {
                which: {score: interval._asdict() for score, interval in by_score.items()}
                for which, by_score in differences(rows).items()
            },
        }


def differences(rows: dict[str, list[dict]]) -> dict[str, dict]:
    """The method minus every other recipe, pair by pair: recipe -> score -> interval."""
    others = [which for which in rows if which != METHOD] if METHOD in rows else []
    return {
        which: {score: i for score in COMPARED if (i := paired(rows[METHOD], rows[which], score))}
        for which in others
    }


def main(
    split: Annotated[Half, typer.Option(help="Half of the concepts.")] = Half.held_out,
    recipes: Annotated[list[str], typer.Option(help="Several times; base: none.")] = list(DEFAULT),
    concept_count: Annotated[int | None, typer.Option(help="Only the first so many.")] = None,
    seeds: Annotated[list[int], typer.Option(help="Training seeds.")] = [0, 1, 2],
    prompts: Annotated[Prompts, typer.Option(help="The prompt set.")] = Prompts.complex,
    prompt_count: Annotated[int | None, typer.Option(help="Only so many of the prompts.")] = None,
    images: Annotated[int, typer.Option(help="Pictures of each prompt in each cell.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the cells are kept.")] = Path("out/compare"),
    publish: Annotated[bool, typer.Option("--publish", help="Write data/results/ too.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Compare recipes."""
    unknown = set(recipes) - {BASE, *RECIPES}
    if unknown:
        known = ", ".join((BASE, *RECIPES))
        raise InputError(f"unknown recipe {min(unknown)!r}: choose from {known}")
    torch.set_num_threads(threads)
    base = bundled_base(device)
    entries = prompt_set(prompts.value, prompt_count)
    bench = Bench(base, entries, tools(base), weights_digest(base))
    concepts = list(bundled_concepts()[split.value])[:concept_count]
    comparison = Comparison(bench, split.value, concepts, recipes, seeds, prompts.value, images)
    report(comparison, comparison.run(out), out / split.value, publish)


def report(comparison: Comparison, rows: dict, folder: Path, publish: bool) -> None:
    """Write the table and its numbers, and print both tables."""
    text = table(rows, COLUMNS)
    atomic_write_text(folder / "table.md", text + "\n")
    numbers, results = comparison.summary(rows), data_dir() / "results"
    atomic_write_json(folder / "summary.json", numbers)
    if publish:
        atomic_write_json(results / f"{comparison.split}.json", numbers)
    print(
        f"\n{comparison.split}: mean [95 % interval over concepts], {comparison.prompts} prompts, "
        f"seeds {comparison.seeds}\n\n{text}"
    )
    apart = {
        f"{METHOD} - {which}": [by_score.get(score) for score in COMPARED]
        for which, by_score in differences(rows).items()
    }
    print(f"\npair by pair\n\n{rule(apart, [COLUMNS[score] for score in COMPARED], '+')}")


if __name__ == "__main__":
    run_command(main, "compare_recipes")
