"""Tune the tiny presets: nine settings for every recipe, on the tuning half of the concepts only.

    python benchmarks/tune.py [--recipes NAME]... [--concepts NAME]... [--seeds 0]... [--report]

Every recipe is trained with three learning rates of its last (or only) stage, and each run is
measured three times on its way, when 140, 180 and 250 steps of batch 4 lie behind it: learning
rates are constant, so a shorter run is the beginning of a longer one. All recipes get the same
concepts, seeds, prompts and number of samples. Ablations are not tuned: they are the three stages
less something, and the fast version is the three stages' best setting with fewer steps than its
winner. The score of a setting is the geometric mean of text and identity, so that neither can buy
the other. A run is one JSON file under out/tuning/<recipe>/; call again to go on after a stop, or
with other concepts in a second process. ``--report`` prints the table of what is there.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from cells import prompt_set, read_cell, tools, weights_digest
from timing import bundled_base
from tqdm import tqdm

from adb_core.concept import Concept, bundled_concepts
from adb_core.generation import generate
from adb_core.metrics import bootstrap, score_pictures
from adb_core.personalization import Run
from adb_core.recipes import Recipe, recipe
from adb_core.result import Result
from adb_core.system.commands import InputError, run_command
from adb_core.system.files import atomic_write_json, atomic_write_text
from adb_core.system.fingerprints import json_fingerprint

TOTALS = (140, 180, 250)  # steps of all stages after which a run is measured
SCORES = ("text", "identity", "leakage")
# recipe -> learning rates of its last stage; where the row has its own, the ratio of the two stays
RATES: dict[str, tuple[float, ...]] = {
    "attndreambooth": (1e-4, 2e-4, 4e-4),
    "textual_inversion": (5e-3, 1e-2, 2e-2),
    "dreambooth": (1e-4, 2e-4, 4e-4),
    "ti_dreambooth": (1e-4, 2e-4, 4e-4),
}


def settings(name: str) -> dict[float, tuple[Recipe, tuple[int, ...]]]:
    """Every setting of a recipe.

    Returns:
        learning rate -> (the tiny preset with it, long enough for every measurement; the steps of
        its last stage to measure at).
    """
    plan = recipe(name)
    *earlier, last = plan.stages
    behind = sum(s.steps for s in earlier)
    marks = tuple(total - behind for total in TOTALS)
    plans = {}
    for lr in RATES[name]:
        row = last.embedding_lr and last.embedding_lr * lr / last.lr
        longest = replace(last, lr=lr, embedding_lr=row, steps=marks[-1], batch_size=4)
        plans[lr] = (replace(plan, stages=(*earlier, longest)), marks)
    return plans


def objective(text: float, identity: float) -> float:
    """Geometric mean of two scores; an identity below 0 counts as none at all."""
    return math.sqrt(max(text, 0.0) * max(identity, 0.0))


@dataclass(frozen=True)
class Tuning:
    """How every run is measured.

    Attributes:
        model: :func:`cells.weights_digest` of ``base``; sampling: keywords of ``generate``.
    """

    base: object
    model: str
    judge: object
    prompts: list[dict]
    sampling: dict

    def fingerprint(self, plan: Recipe, marks: Sequence[int]) -> str:
        """What a run depends on besides its concept and seed."""
        settings = [1, self.model, asdict(plan), list(marks), self.prompts, self.sampling]
        return json_fingerprint(settings)[:16]

    def measure(self, result: Result) -> dict[str, list[float]]:
        """Text, identity and leakage of each picture."""
        texts = [entry["prompt"] for entry in self.prompts]
        asks = [entry["asks"] for entry in self.prompts for _ in self.sampling["seeds"]]
        images = generate(result, texts, **self.sampling).images
        values, _ = score_pictures(images, asks, result.learner.concept, judge=self.judge)
        return {score: [float(x) for x in values[score]] for score in SCORES}

    def trajectory(self, name: str, plan: Recipe, seed: int, marks: Sequence[int]) -> list[dict]:
        """Train once; measure on the way, after each of ``marks`` steps of the last stage."""
        run = Run(self.base, Concept.bundled(name), plan, seed=seed, watch=False)
        measured, seconds = [], 0.0
        for record in run:
            seconds += record.seconds
            if record.stage == plan.stages[-1].name and record.step in marks:
                at = {"step": record.step, "train_seconds": seconds}
                measured.append(at | self.measure(run.result))
        return measured

    def make(self, path: Path, which: str, lr: float, name: str, seed: int) -> None:
        """One run, kept at ``path``, made if it is not there."""
        plan, marks = settings(which)[lr]
        wanted = self.fingerprint(plan, marks)
        if read_cell(path, wanted):
            return
        began = time.perf_counter()
        measured = self.trajectory(name, plan, seed, marks)
        run = {
            "fingerprint": wanted,
            "model": self.model,
            "recipe": which,
            "lr": lr,
            "concept": name,
            "seed": seed,
            "measured": measured,
            "seconds": time.perf_counter() - began,
        }
        atomic_write_json(path, run)


def rank(folder: Path, which: str, model: str) -> list[dict]:
    """The settings of one recipe, best first, from all runs of this model that are there."""
    paths = sorted((folder / which).glob("lr-*.json"))
    runs = [run for path in paths if (run := json.loads(path.read_text()))["model"] == model]
    points: dict[tuple[float, int], list[tuple[dict, str]]] = {}
    for run in runs:
        for at in run["measured"]:
            points.setdefault((run["lr"], at["step"]), []).append((at, run["concept"]))
    rows = [{"lr": lr, "step": step} | _pool(found) for (lr, step), found in sorted(points.items())]
    return sorted(rows, key=lambda row: -row["score"])


def _pool(points: list[tuple[dict, str]]) -> dict:
    """One setting's scores over all its (measurement, concept)."""
    pooled = {}
    for score in SCORES:
        pairs = [(x, concept) for at, concept in points for x in at[score]]
        groups = [concept for _, concept in pairs]
        pooled[score] = bootstrap([x for x, _ in pairs], groups=groups)._asdict()
    return {
        "score": objective(pooled["text"]["mean"], pooled["identity"]["mean"]),
        **pooled,
        "runs": len(points),
        "train_seconds": sum(at["train_seconds"] for at, _ in points),
    }


HEAD = (
    "| recipe | learning rate | steps of the last stage | score | text | identity | leakage | runs "
    "| training seconds |"
)


def summary_table(ranks: dict[str, list[dict]]) -> str:
    """All settings of all recipes in Markdown, best first."""
    lines = [HEAD, "|---" * 9 + "|"]
    for name, rows in ranks.items():
        for row in rows:
            means = " | ".join(f"{row[score]['mean']:.3f}" for score in SCORES)
            lines.append(
                f"| {name} | {row['lr']:g} | {row['step']} | {row['score']:.3f} | {means} "
                f"| {row['runs']} | {row['train_seconds']:.0f} |"
            )
    return "\n".join(lines)


def check(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that are not known."""
    unknown = set(names) - set(known)
    if unknown:
        raise InputError(f"unknown {kind} {min(unknown)!r}: choose from {', '.join(known)}")


def main(
    recipes: Annotated[list[str], typer.Option(help="Several times.")] = list(RATES),
    concepts: Annotated[list[str], typer.Option(help="Several times; default: all.")] = [],
    seeds: Annotated[list[int], typer.Option(help="Training seeds.")] = [0],
    prompt_count: Annotated[int, typer.Option(help="So many of the complex prompts.")] = 8,
    images: Annotated[int, typer.Option(help="Pictures of each prompt.")] = 1,
    sampling_steps: Annotated[int, typer.Option(help="Of each picture.")] = 15,
    report: Annotated[bool, typer.Option("--report", help="Only the table.")] = False,
    out: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("out/tuning"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Search the tiny presets' settings on the tuning half."""
    half = list(bundled_concepts()["tuning"])
    check("recipe", recipes, list(RATES))
    check("concept", concepts, half)
    torch.set_num_threads(threads)
    base = bundled_base(device)
    model = weights_digest(base)
    if not report:
        sampling = {"seeds": list(range(images)), "steps": sampling_steps}
        prompts = prompt_set("complex", prompt_count)
        tuning = Tuning(base, model, tools(base)["judge"], prompts, sampling)
        jobs = itertools.product(seeds, concepts or half, recipes)
        runs = [(s, name, which, lr) for s, name, which in jobs for lr in RATES[which]]
        for seed, name, which, lr in tqdm(runs, unit="run"):
            path = out / which / f"lr-{lr:g}--{name}-{seed}.json"
            tuning.make(path, which, lr, name, seed)
    ranks = {which: rank(out, which, model) for which in recipes}
    text = summary_table(ranks)
    atomic_write_json(out / "summary.json", ranks)
    atomic_write_text(out / "summary.md", text + "\n")
    print(f"\nTuning half, best first; score is sqrt(text x identity)\n\n{text}")


if __name__ == "__main__":
    run_command(main, "tune")
