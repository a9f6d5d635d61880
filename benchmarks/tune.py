"""Tune the tiny presets: a small declared grid for every recipe, on the tuning half of the concepts only.

    python benchmarks/tune.py [--recipes ...] [--seeds 0] [--prompt-count 8]

Every recipe gets six settings (three learning rates by two of something else), the same concepts,
seeds and prompts; the effort is recorded in each cell. Ablations are not tuned: they are the three
stages less something. Cells are JSON files under out/tuning/<recipe>/; run again to go on. The
score of a setting is the geometric mean of text and identity, so that neither can buy the other.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from adb_core.concept import bundled_concepts
from adb_core.files import atomic_write_json, atomic_write_text
from adb_core.recipes import Recipe, recipe
from cells import make_cell, pooled, prompt_set, tools, weights_digest
from timing import bundled_base

# recipe -> {(stage, field): values}; every grid has six settings
GRIDS: dict[str, dict[tuple[str, str], tuple]] = {
    "attndreambooth": {("identity", "lr"): (5e-5, 1e-4, 2e-4), ("attention", "lr"): (2e-4, 5e-4)},
    "attndreambooth_fast": {("identity", "lr"): (1e-4, 2e-4, 4e-4), ("attention", "lr"): (2e-4, 5e-4)},
    "textual_inversion": {("inversion", "lr"): (5e-3, 1e-2, 2e-2), ("inversion", "steps"): (200, 400)},
    "dreambooth": {("finetune", "lr"): (5e-5, 1e-4, 2e-4), ("finetune", "steps"): (200, 400)},
    "dreambooth_prior": {("finetune", "lr"): (5e-5, 1e-4, 2e-4), ("finetune", "steps"): (200, 400)},
    "ti_dreambooth": {("joint", "lr"): (5e-5, 1e-4, 2e-4), ("joint", "embedding_lr"): (2e-3, 1e-2)},
}


def settings(name: str) -> dict[str, Recipe]:
    """label -> the tiny preset with that setting, for every point of the recipe's grid."""
    axes, found = GRIDS[name], {}
    for values in itertools.product(*axes.values()):
        plan = recipe(name)
        for (stage, field), value in zip(axes, values):
            plan = replace(plan, stages=tuple(replace(s, **{field: value}) if s.name == stage else s for s in plan.stages))
        found[",".join(f"{stage}.{field}={value:g}" for (stage, field), value in zip(axes, values))] = plan
    return found


def objective(text: float, identity: float) -> float:
    """Geometric mean of two scores; an identity below 0 counts as none at all."""
    return math.sqrt(max(text, 0.0) * max(identity, 0.0))


def run(args, base) -> dict[str, dict[str, list[dict]]]:
    """recipe -> label -> its cells."""
    names, found, model = bundled_concepts()["tuning"], tools(base), weights_digest(base)
    prompts, seeds = prompt_set(args.prompts, args.prompt_count), list(range(args.images))
    jobs = [(seed, name, which, label, plan) for seed in args.seeds for name in names
            for which in args.recipes for label, plan in settings(which).items()]
    cells: dict[str, dict[str, list[dict]]] = {which: {label: [] for label in settings(which)} for which in args.recipes}
    for seed, name, which, label, plan in tqdm(jobs, unit="cell"):
        path = args.out / which / f"{label.replace(',', '__')}--{name}-{seed}.json"
        cells[which][label].append(make_cell(path, base, name, plan, seed, prompts, seeds, model, found))
    return cells


def rank(cells: dict[str, list[dict]]) -> list[dict]:
    """The settings of one recipe, best first, with what was spent on each."""
    rows = []
    for label, made in cells.items():
        text, identity, leakage = (pooled(made, score) for score in ("text", "identity", "leakage"))
        rows.append({
            "setting": label, "score": objective(text.mean, identity.mean), "text": text._asdict(), "identity": identity._asdict(),
            "leakage": leakage._asdict() if leakage else None, "runs": len(made),
            "samples": sum(c["effort"]["samples"] for c in made), "train_seconds": sum(c["effort"]["train_seconds"] for c in made),
        })
    return sorted(rows, key=lambda row: -row["score"])


def summary_table(ranks: dict[str, list[dict]]) -> str:
    lines = ["| recipe | setting | score | text | identity | leakage | runs | samples | seconds |", "|---|---|---|---|---|---|---|---|---|"]
    for name, rows in ranks.items():
        for row in rows:
            leak = f"{row['leakage']['mean']:.3f}" if row["leakage"] else "-"
            lines.append(f"| {name} | {row['setting']} | {row['score']:.3f} | {row['text']['mean']:.3f} | {row['identity']['mean']:.3f} "
                         f"| {leak} | {row['runs']} | {row['samples']} | {row['train_seconds']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=tuple(GRIDS), default=list(GRIDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="training seeds")
    parser.add_argument("--prompts", choices=("simple", "compositional", "complex"), default="complex")
    parser.add_argument("--prompt-count", type=int, default=8, help="use only so many of the prompts")
    parser.add_argument("--images", type=int, default=1, help="pictures of each prompt in each cell")
    parser.add_argument("--out", type=Path, default=Path("out/tuning"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ranks = {name: rank(cells) for name, cells in run(args, bundled_base(args.device)).items()}
    text = summary_table(ranks)
    atomic_write_json(args.out / "summary.json", ranks)
    atomic_write_text(args.out / "summary.md", text + "\n")
    print(f"\nTuning half, best first; score is sqrt(text x identity)\n\n{text}")


if __name__ == "__main__":
    main()
