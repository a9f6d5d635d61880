"""The comparison of recipes: concepts x seeds x complex prompts, with bootstrap intervals.

    python benchmarks/compare_recipes.py [--split held_out] [--recipes ...] [--seeds 0 1 2] [--publish]

Each cell (recipe, concept, seed) is one JSON file under out/compare/<split>/; run again to go on
after an interruption. The held-out half is for reporting: tune with tune.py, on the other half.
``--publish`` also writes the table's numbers to data/results/<split>.json, which notebook 09 shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from cells import make_cell, paired, pooled, prompt_set, rule, table, tools, weights_digest
from timing import bundled_base
from tqdm import tqdm

from adb_core.concept import bundled_concepts
from adb_core.recipes import RECIPES, recipe
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


def concepts(args) -> list[str]:
    """The half's concepts, or the first few of them."""
    return list(bundled_concepts()[args.split])[: args.concept_count]


def run(args, base) -> dict[str, list[dict]]:
    """Every cell, recipe by recipe within a concept and seed: a stopped run is balanced."""
    names, found, model = concepts(args), tools(base), weights_digest(base)
    prompts = prompt_set(args.prompts, args.prompt_count)
    jobs = [(seed, name, which) for seed in args.seeds for name in names for which in args.recipes]
    rows: dict[str, list[dict]] = {which: [] for which in args.recipes}
    for seed, name, which in tqdm(jobs, unit="cell"):
        plan = None if which == BASE else recipe(which)
        # The pictures' seeds differ between training seeds: all of them are different noise.
        seeds = [100 * seed + k for k in range(args.images)]
        path = args.out / args.split / which / f"{name}-{seed}.json"
        rows[which].append(make_cell(path, base, name, plan, seed, prompts, seeds, model, found))
    return rows


def differences(rows: dict[str, list[dict]]) -> dict[str, dict]:
    """The method minus every other recipe, pair by pair: recipe -> score -> interval."""
    others = [which for which in rows if which != METHOD] if METHOD in rows else []
    return {
        which: {
            score: found
            for score in COMPARED
            if (found := paired(rows[METHOD], rows[which], score))
        }
        for which in others
    }


def summary(rows: dict[str, list[dict]], args, model: str) -> dict:
    """The table's numbers as JSON says them, with what they were measured on."""
    return {
        "split": args.split,
        "concepts": sorted({cell["concept"] for cells in rows.values() for cell in cells}),
        "seeds": args.seeds,
        "prompts": {
            "set": args.prompts,
            "count": len(prompt_set(args.prompts, args.prompt_count)),
            "images": args.images,
        },
        "base": model,
        "recipes": {
            which: {score: found._asdict() for score in COLUMNS if (found := pooled(cells, score))}
            for which, cells in rows.items()
        },
        "method_minus": {
            which: {score: found._asdict() for score, found in by_score.items()}
            for which, by_score in differences(rows).items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=("tuning", "held_out"), default="held_out")
    parser.add_argument("--recipes", nargs="+", choices=(BASE, *RECIPES), default=list(DEFAULT))
    parser.add_argument(
        "--concept-count", type=int, help="use only the first so many concepts of the half"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], help="training seeds (default: 0 1 2)"
    )
    parser.add_argument(
        "--prompts", choices=("simple", "compositional", "complex"), default="complex"
    )
    parser.add_argument("--prompt-count", type=int, help="use only so many of the prompts")
    parser.add_argument(
        "--images", type=int, default=1, help="pictures of each prompt in each cell"
    )
    parser.add_argument("--out", type=Path, default=Path("out/compare"))
    parser.add_argument("--publish", action="store_true", help="write data/results/<split>.json")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base = bundled_base(args.device)
    rows = run(args, base)
    text = table(rows, COLUMNS)
    atomic_write_text(args.out / args.split / "table.md", text + "\n")
    found = summary(rows, args, weights_digest(base))
    for path in (
        args.out / args.split / "summary.json",
        *([data_dir() / "results" / f"{args.split}.json"] if args.publish else []),
    ):
        atomic_write_json(path, found)
    print(
        f"\n{args.split}: mean [95 % interval over concepts], {args.prompts} prompts, seeds {args.seeds}\n\n{text}"
    )
    apart = {
        f"{METHOD} - {which}": [by_score.get(score) for score in COMPARED]
        for which, by_score in differences(rows).items()
    }
    print(f"\npair by pair\n\n{rule(apart, [COLUMNS[score] for score in COMPARED], '+')}")


if __name__ == "__main__":
    main()
