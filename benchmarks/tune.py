"""Tune the tiny presets: nine settings for every recipe, on the tuning half of the concepts only.

    python benchmarks/tune.py [--recipes ...] [--concepts pico bolt nori] [--seeds 0] [--report]

Every recipe is trained with three learning rates of its last (or only) stage, and each run is
measured three times on its way, when 140, 180 and 250 steps of batch 4 lie behind it: learning
rates are constant, so a shorter run is the beginning of a longer one. All recipes get the same
concepts, seeds, prompts and number of samples. Ablations are not tuned: they are the three stages
less something, and the fast version is the three stages' best setting with fewer steps than its winner.
The score of a setting is the geometric mean of text and identity, so that neither can buy the
other. A run is one JSON file under out/tuning/<recipe>/; call again to go on after a stop, or with
other concepts in a second process. ``--report`` prints the table of what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from cells import prompt_set, read_cell, tools, weights_digest
from timing import bundled_base
from tqdm import tqdm

from adb_core.concept import Concept, bundled_concepts
from adb_core.generation import generate
from adb_core.metrics import bootstrap, score_pictures
from adb_core.personalization import Run
from adb_core.recipes import Recipe, recipe
from adb_core.result import Result
from adb_core.system.files import atomic_write_json, atomic_write_text

TOTALS = (140, 180, 250)  # steps of all stages after which a run is measured
# recipe -> learning rates of its last stage; where the row has its own, the ratio of the two stays
RATES: dict[str, tuple[float, ...]] = {
    "attndreambooth": (1e-4, 2e-4, 4e-4),
    "textual_inversion": (5e-3, 1e-2, 2e-2),
    "dreambooth": (1e-4, 2e-4, 4e-4),
    "ti_dreambooth": (1e-4, 2e-4, 4e-4),
}


def settings(name: str) -> dict[float, tuple[Recipe, tuple[int, ...]]]:
    """learning rate -> (the tiny preset with it, long enough for every measurement; steps of its last stage to measure at)."""
    plan = recipe(name)
    *earlier, last = plan.stages
    behind = sum(s.steps for s in earlier)
    marks = tuple(total - behind for total in TOTALS)
    found = {}
    for lr in RATES[name]:
        row = last.embedding_lr and last.embedding_lr * lr / last.lr
        found[lr] = (
            replace(
                plan,
                stages=(
                    *earlier,
                    replace(last, lr=lr, embedding_lr=row, steps=marks[-1], batch_size=4),
                ),
            ),
            marks,
        )
    return found


def objective(text: float, identity: float) -> float:
    """Geometric mean of two scores; an identity below 0 counts as none at all."""
    return math.sqrt(max(text, 0.0) * max(identity, 0.0))


def fingerprint(model: str, plan: Recipe, marks, prompts, sampling: dict) -> str:
    """What a run depends on besides its concept and seed."""
    said = json.dumps([1, model, asdict(plan), marks, prompts, sampling], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def trajectory(base, concept: Concept, plan: Recipe, seed: int, marks, measure) -> list[dict]:
    """Train once; measure on the way, after each of ``marks`` steps of the last stage."""
    training, found, seconds = Run(base, concept, plan, seed=seed, watch=False), [], 0.0
    for record in training:
        seconds += record.seconds
        if record.stage == plan.stages[-1].name and record.step in marks:
            at = {"step": record.step, "train_seconds": seconds}
            found.append(at | measure(training.result))
    return found


def run(args, base) -> None:
    """Make every run that is not there yet."""
    model, judge = weights_digest(base), tools(base)["judge"]
    prompts, sampling = (
        prompt_set("complex", args.prompt_count),
        {"seeds": list(range(args.images)), "steps": args.sampling_steps},
    )
    asks = [entry["asks"] for entry in prompts for _ in sampling["seeds"]]
    jobs = [
        (seed, name, which, lr, *setting)
        for seed in args.seeds
        for name in args.concepts
        for which in args.recipes
        for lr, setting in settings(which).items()
    ]
    for seed, name, which, lr, plan, marks in tqdm(jobs, unit="run"):
        path = args.out / which / f"lr-{lr:g}--{name}-{seed}.json"
        wanted = fingerprint(model, plan, marks, prompts, sampling)
        if read_cell(path, wanted):
            continue
        concept = Concept.bundled(name)

        def measure(result: Result) -> dict:
            images = generate(result, [entry["prompt"] for entry in prompts], **sampling).images
            values, _ = score_pictures(images, asks, concept, judge=judge)
            return {
                score: [float(x) for x in values[score]]
                for score in ("text", "identity", "leakage")
            }

        began = time.perf_counter()
        found = trajectory(base, concept, plan, seed, marks, measure)
        atomic_write_json(
            path,
            {
                "fingerprint": wanted,
                "model": model,
                "recipe": which,
                "lr": lr,
                "concept": name,
                "seed": seed,
                "measured": found,
                "seconds": time.perf_counter() - began,
            },
        )


def rank(folder: Path, which: str, model: str) -> list[dict]:
    """The settings of one recipe, best first, from all runs of this model that are there."""
    runs = [
        made
        for path in sorted((folder / which).glob("lr-*.json"))
        if (made := json.loads(path.read_text()))["model"] == model
    ]
    rows = []
    for lr in sorted({made["lr"] for made in runs}):
        for step in sorted({at["step"] for made in runs for at in made["measured"]}):
            points = [
                (at, made)
                for made in runs
                if made["lr"] == lr
                for at in made["measured"]
                if at["step"] == step
            ]
            pooled = {}
            for score in ("text", "identity", "leakage"):
                pairs = [(x, made["concept"]) for at, made in points for x in at[score]]
                pooled[score] = bootstrap(
                    [x for x, _ in pairs], groups=[g for _, g in pairs]
                )._asdict()
            rows.append(
                {
                    "lr": lr,
                    "step": step,
                    "score": objective(pooled["text"]["mean"], pooled["identity"]["mean"]),
                    **pooled,
                    "runs": len(points),
                    "train_seconds": sum(at["train_seconds"] for at, _ in points),
                }
            )
    return sorted(rows, key=lambda row: -row["score"])


def summary_table(ranks: dict[str, list[dict]]) -> str:
    lines = [
        "| recipe | learning rate | steps of the last stage | score | text | identity | leakage | runs | training seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in ranks.items():
        for row in rows:
            lines.append(
                f"| {name} | {row['lr']:g} | {row['step']} | {row['score']:.3f} | {row['text']['mean']:.3f} | {row['identity']['mean']:.3f} "
                f"| {row['leakage']['mean']:.3f} | {row['runs']} | {row['train_seconds']:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", choices=tuple(RATES), default=list(RATES))
    tuning = list(bundled_concepts()["tuning"])
    parser.add_argument(
        "--concepts",
        nargs="+",
        choices=tuning,
        default=tuning,
        metavar="NAME",
        help=f"some of {', '.join(tuning)} (default: all)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="training seeds")
    parser.add_argument(
        "--prompt-count", type=int, default=8, help="use only so many of the complex prompts"
    )
    parser.add_argument(
        "--images", type=int, default=1, help="pictures of each prompt at each measurement"
    )
    parser.add_argument("--sampling-steps", type=int, default=15)
    parser.add_argument(
        "--report", action="store_true", help="make no runs, only the table of those that are there"
    )
    parser.add_argument("--out", type=Path, default=Path("out/tuning"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base = bundled_base(args.device)
    if not args.report:
        run(args, base)
    ranks = {name: rank(args.out, name, weights_digest(base)) for name in args.recipes}
    text = summary_table(ranks)
    atomic_write_json(args.out / "summary.json", ranks)
    atomic_write_text(args.out / "summary.md", text + "\n")
    print(f"\nTuning half, best first; score is sqrt(text x identity)\n\n{text}")


if __name__ == "__main__":
    main()
