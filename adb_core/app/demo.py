"""``make demo``: the paper's experiment on one bundled concept, from its photos to a report.

All stages of a recipe run on the bundled tiny model. Under the output folder appear

    model/            the personalized model, a folder that plain diffusers loads
    stages.png        the concept's photos beside pictures of six prompts after each stage
    attention.png     where [V] looked while these pictures were made
    drift.png         how far [V] moved among the words
    curves.png        losses and attention statistics
    history.json      every step's record;  drift.json  the drift's numbers
    metrics.json      what was measured, and how long everything took
    report.html       one page with all of it
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from .. import plots
from ..base import Base, BaseModelError
from ..checkpoint import CHECKPOINT
from ..concept import Concept
from ..drift import Projection
from ..engine import make_accelerator
from ..generation import GUIDANCE, STEPS, Generation, generate
from ..images import view
from ..personalization import Run
from ..recipes import Recipe
from ..records import StepRecord
from ..result import Result, check_target
from ..system.files import atomic_write_json, check_writable
from ..system.paths import data_path
from .report import Picture, Section, Table, write_report

# From simple to complex: two prompts of each bundled set.
PROMPTS = (
    ("simple", 0),
    ("simple", 1),
    ("compositional", 0),
    ("compositional", 6),
    ("complex", 0),
    ("complex", 1),
)
DRIFT_POINTS = 20  # records a stage: enough for a smooth line
FILES = (
    "stages.png",
    "attention.png",
    "drift.png",
    "curves.png",
    "history.json",
    "drift.json",
    "metrics.json",
    "report.html",
)


class DemoError(RuntimeError):
    """The demo cannot start; one line with the cure."""


def demo_prompts() -> list[dict]:
    """The six prompts: {"prompt": text with ``{}``, "asks": what a picture should show}, simple ones first."""
    sets = {
        name: json.loads(data_path("prompts", f"{name}.json").read_text(encoding="utf-8"))[
            "prompts"
        ]
        for name, _ in PROMPTS
    }
    return [sets[name][number] for name, number in PROMPTS]


def check_out(out: str | Path) -> Path:
    """Find out now, not after the work, whether the demo may write into ``out``.

    Raises:
        DemoError: it is not a folder, or belongs to another run.
        OutputError: its ``model`` is something else than a saved model.
        OSError: it cannot be written.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise DemoError(f"{out} is a file, not a folder: choose another with --out")
    if (out / CHECKPOINT).exists():
        raise DemoError(
            f"{out} holds the checkpoint of a training run: choose another folder with --out"
        )
    check_target(out / "model")
    check_writable(out)
    return out


# ---------------------------------------------------------------- what is collected on the way


@dataclass
class Diary:
    """What the demo notes down while the recipe runs; its methods are the hooks of ``personalize``.

    Attributes:
        prompts: entries as of :func:`demo_prompts`; every one is drawn with ``seed`` after each stage.
        pictures: (label, generation with the maps of all words), one before and one after each stage.
        points: the drift; seconds: spent on pictures.
    """

    prompts: Sequence[dict]
    seed: int
    steps: int = STEPS
    progress: bool = True
    say: Callable[[str], None] = print
    pictures: list[tuple[str, Generation]] = field(default_factory=list)
    points: list[plots.DriftPoint] = field(default_factory=list)
    seconds: float = 0.0
    done: int = 0

    def start(self, result: Result) -> None:
        self.result = result
        token = result.token
        known = np.setdiff1d(np.arange(len(token.tokenizer)), token.ids)
        self.vocabulary = token.text_encoder.get_input_embeddings().weight.detach()[
            torch.from_numpy(known)
        ]  # (words, d)
        self.projection = Projection(self.vocabulary)
        self._note_drift("")
        self._draw("before training")

    def step(self, record: StepRecord) -> None:
        self.done += 1
        if (
            record.step in (1, record.steps)
            or record.step % max(1, record.steps // DRIFT_POINTS) == 0
        ):
            self._note_drift(record.stage)

    def stage(self, name: str) -> None:
        number = [s.name for s in self.result.learner.recipe.stages].index(name)
        records = [r for r in self.result.history if r.stage == name]
        last = records[-max(1, len(records) // 10) :]
        self.say(
            f"  {name}: {len(records)} steps in {sum(r.seconds for r in records):.1f} s, loss {np.mean([r.loss for r in last]):.3f} over the last {len(last)}"
        )
        self._draw(f"after stage {number + 1}: {name}")

    def _note_drift(self, stage: str) -> None:
        token = self.result.token
        x, y = self.projection(token.rows.detach().mean(0)).tolist()
        self.points.append(plots.DriftPoint(self.done, stage, token.drift(), (x, y)))

    def _draw(self, label: str) -> None:
        began = time.perf_counter()
        texts = [p["prompt"] for p in self.prompts]
        made = generate(
            self.result,
            texts,
            seeds=[self.seed],
            steps=self.steps,
            maps=True,
            progress=self.progress,
        )
        self.pictures.append((label, made))
        self.seconds += time.perf_counter() - began

    def named_words(self) -> dict[str, tuple[float, float]]:
        """Places in the projection of the words that end nearest to [V], and of its category."""
        token = self.result.token
        words = list(
            dict.fromkeys([*(w for w, _ in self.points[-1].drift.nearest), token.category])
        )
        table = token.text_encoder.get_input_embeddings().weight.detach()
        ids = [token.tokenizer(w, add_special_tokens=False).input_ids for w in words]
        return {
            w: tuple(self.projection(table[i].mean(0)).tolist()) for w, i in zip(words, ids) if i
        }


# ---------------------------------------------------------------- figures


def v_map(generation: Generation, picture: int, placeholder: str) -> np.ndarray:
    """[V]'s map of one picture, (y, x), averaged over the sampling steps and over its vectors."""
    maps = [
        m
        for word, m in generation.word_maps(picture).items()
        if word == placeholder or word.startswith(f"{placeholder}_")
    ]
    return np.mean(maps, axis=0)


def stages_figure(diary: Diary, concept: Concept):
    """The photos, then a row of pictures for every moment and a column for every prompt."""
    texts = [p["prompt"] for p in diary.prompts]
    side = diary.pictures[0][1].images.shape[1]
    photos = [view(image, side) for image in concept.images[: len(texts)]]
    rows = [photos, *(list(made.images) for _, made in diary.pictures)]
    labels = ["photos", *(label for label, _ in diary.pictures)]
    alt = (
        f"First row: {len(photos)} photos of {concept.name}. Below, one row for each moment ({'; '.join(labels[1:])}) "
        f"and one column for each prompt: {'; '.join(texts)}. All pictures of a column start from the same noise."
    )
    return plots.image_grid(
        rows, row_labels=labels, column_labels=[t.replace("{}", "[V]") for t in texts], alt=alt
    )


def attention_figure(diary: Diary, concept: Concept):
    """[V]'s map over every picture of :func:`stages_figure`."""
    images = [list(made.images) for _, made in diary.pictures]
    maps = [
        [v_map(made, k, concept.placeholder) for k in range(len(made.images))]
        for _, made in diary.pictures
    ]
    texts = [p["prompt"] for p in diary.prompts]
    alt = (
        f"The attention map of [V] over each generated picture, averaged over layers, heads and sampling steps. Rows: "
        f"{'; '.join(label for label, _ in diary.pictures)}. Columns: {'; '.join(texts)}. Bright places are looked at most."
    )
    return plots.attention_grid(
        images,
        maps,
        row_labels=[label for label, _ in diary.pictures],
        column_labels=[t.replace("{}", "[V]") for t in texts],
        alt=alt,
    )


def draw_figures(diary: Diary, concept: Concept, out: Path) -> dict[str, Picture]:
    """Write the four figures; returns them by file name, with captions."""
    drift = plots.embedding_drift(
        diary.points,
        diary.projection(diary.vocabulary).numpy(),
        diary.named_words(),
        concept.category,
    )
    figures = {
        "stages.png": (
            stages_figure(diary, concept),
            "The photos, and the same six prompts with the same noise before training and after each stage.",
        ),
        "attention.png": (
            attention_figure(diary, concept),
            "Where [V] looks. Each map has its own colour scale; its largest probability stands below it.",
        ),
        "drift.png": (
            drift,
            "How far [V] moves among the words. Where a stage keeps the embedding fixed the lines are level.",
        ),
        "curves.png": (
            plots.training_curves(diary.result.history),
            "Losses, and mean and variance of the maps of [V] and of its category, averaged over the layers.",
        ),
    }
    return {
        name: Picture(plots.to_png(figure, out / name), plots.alt_text(figure), caption)
        for name, (figure, caption) in figures.items()
    }


# ---------------------------------------------------------------- numbers


def measure(diary: Diary, seed: int) -> dict:
    """The last stage's pictures and maps, measured by :mod:`adb_core.metrics`.

    Returns:
        Its dict, or {"left_out": {"everything": why}} where the bundled judges are not there.
    """
    from ..metrics import evaluate_result

    try:
        return evaluate_result(
            diary.result,
            prompts=diary.prompts,
            seeds=[seed],
            generation=diary.pictures[-1][1],
            steps=diary.steps,
        )
    except (BaseModelError, FileNotFoundError) as error:
        return {"left_out": {"everything": str(error)}}


def drift_json(points: Sequence[plots.DriftPoint]) -> list[dict]:
    """The drift as plain numbers, one entry a point."""
    return [{"step": p.step, "stage": p.stage, "at": list(p.at), **asdict(p.drift)} for p in points]


def numbers_of(diary: Diary, evaluation: dict, seconds: dict[str, float]) -> dict:
    """What ``metrics.json`` says."""
    result, last = diary.result, diary.points[-1].drift
    stages = {}
    for stage in result.learner.recipe.stages:
        records = [r for r in result.history if r.stage == stage.name]
        end = records[-max(1, len(records) // 10) :]
        stages[stage.name] = {
            "steps": len(records),
            "seconds": round(sum(r.seconds for r in records), 3),
            "loss": float(np.mean([r.loss for r in end])),
            **{
                name: float(np.mean([np.mean(getattr(r, name)) for r in end]))
                for name in ("v_mean", "v_var", "category_mean", "category_var")
                if all(getattr(r, name) for r in end)
            },
        }
    return {
        "concept": result.learner.concept.name,
        "recipe": result.learner.recipe.name,
        "base": result.learner.base.name,
        "seed": result.learner.seed,
        "device": str(result.learner.base.device),
        "threads": torch.get_num_threads(),
        "stages": stages,
        "drift": asdict(last),
        "evaluation": evaluation,
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
    }


# ---------------------------------------------------------------- the report


def report_sections(numbers: dict, pictures: dict[str, Picture], diary: Diary) -> list[Section]:
    """The page from top to bottom."""
    learner = diary.result.learner
    concept, seconds = learner.concept, numbers["seconds"]
    opening = Section(
        "",
        [
            f"A diffusion model of drawn scenes was given {len(concept.images)} pictures of {concept.name}, a {concept.category}, and learned a new "
            f"word for it, {concept.placeholder}, which the page calls [V]. Recipe: {learner.recipe.name}; seed {learner.seed}; "
            f"device {numbers['device']} with {numbers['threads']} CPU threads.",
            f"Training took {seconds['training']:.1f} s, the pictures on the way {seconds['pictures']:.1f} s, everything {seconds['total']:.1f} s.",
        ],
        [_stage_table(numbers)],
    )
    return [
        opening,
        Section(
            "What it draws",
            [
                "Simple prompts stand at the left, complex ones at the right. Look for two things: is it the same individual, and is the rest of the prompt there?"
            ],
            pictures=[pictures["stages.png"]],
        ),
        Section(
            "Where [V] looks",
            [
                "A word that works looks at its own subject and leaves the rest of the picture to the other words."
            ],
            pictures=[pictures["attention.png"]],
        ),
        Section(
            "Where [V] is among the words",
            _drift_text(numbers["drift"]),
            pictures=[pictures["drift.png"]],
        ),
        Section(
            "Training",
            [
                "The regularizer pulls the mean and the variance of [V]'s maps towards the category's."
            ],
            pictures=[pictures["curves.png"]],
        ),
        Section("Measured", *_measured(numbers["evaluation"])),
    ]


def _stage_table(numbers: dict) -> Table:
    rows = [
        (
            name,
            str(s["steps"]),
            f"{s['seconds']:.1f}",
            f"{s['loss']:.3f}",
            _pair(s, "mean"),
            _pair(s, "var"),
        )
        for name, s in numbers["stages"].items()
    ]
    return Table(
        "Stages; the last three columns average the last tenth of the steps. Attention: [V] / category.",
        ("stage", "steps", "seconds", "loss", "attention mean", "attention variance"),
        rows,
    )


def _pair(stage: dict, what: str) -> str:
    v, category = stage.get(f"v_{what}"), stage.get(f"category_{what}")
    return (
        "not recorded"
        if v is None
        else f"{v:.4g} / {category:.4g}"
        if category is not None
        else f"{v:.4g} / none"
    )


def _drift_text(drift: dict) -> list[str]:
    near = ", ".join(f"{word} ({cosine:.2f})" for word, cosine in drift["nearest"])
    return [
        f"It ends {drift['distance']:.3f} away from its start, cosine {drift['cosine_to_category']:.3f} to its category. Nearest words: {near}."
    ]


def _measured(evaluation: dict) -> tuple[list[str], list[Table]]:
    left_out = [
        f"Not measured: {name}: {why}." for name, why in evaluation.get("left_out", {}).items()
    ]
    rows = [
        (name, f"{s['mean']:.3f}", f"{s['low']:.3f} to {s['high']:.3f}", str(s["count"]))
        for name, s in evaluation.get("scores", {}).items()
    ]
    table = Table(
        "After the last stage, on these six pictures and the concept's photos. So few pictures give wide intervals.",
        ("score", "mean", "95 % interval", "numbers"),
        rows,
    )
    return left_out, [table] if rows else []


# ---------------------------------------------------------------- all of it


def run(
    base: Base,
    concept: Concept,
    recipe: str | Recipe = "attndreambooth",
    out: str | Path = "out/demo",
    *,
    preset: str = "tiny",
    seed: int = 0,
    steps: int = STEPS,
    view_count: int = 16,
    mixed_precision: str = "no",
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Personalize, draw, measure and write everything; returns the report's path.

    Args:
        steps: sampling steps of the pictures; mixed_precision: of the training, see
            :func:`adb_core.make_accelerator`; say: gets one line now and then.

    Raises:
        DemoError: ``out`` cannot be used. Everything that ``personalize`` raises.
    """
    out, began = check_out(out), time.perf_counter()
    diary = Diary(demo_prompts(), seed, steps, progress, say)
    accelerator = make_accelerator(base.device, mixed_precision)
    precision = {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    say(
        f"{concept.name}: {len(concept.images)} pictures of a {concept.category}, on {base.device} with {torch.get_num_threads()} threads, in {precision}"
    )
    training = Run(
        base,
        concept,
        recipe,
        preset=preset,
        seed=seed,
        view_count=view_count,
        accelerator=accelerator,
        progress=progress,
    )
    result = training.result
    diary.start(result)
    for record in training:
        diary.step(record)
        if record.is_last:
            diary.stage(record.stage)
    seconds = {"training": sum(r.seconds for r in result.history), "pictures": diary.seconds}
    result.save_pretrained(out / "model")
    pictures = draw_figures(diary, concept, out)
    evaluation = measure(diary, seed)
    seconds["total"] = time.perf_counter() - began
    numbers = numbers_of(diary, evaluation, seconds)
    atomic_write_json(out / "history.json", [asdict(r) for r in result.history])
    atomic_write_json(out / "drift.json", drift_json(diary.points))
    atomic_write_json(out / "metrics.json", numbers)
    report = write_report(
        out / "report.html",
        f"{concept.name}, learned in {len(result.learner.recipe.stages)} stages",
        report_sections(numbers, pictures, diary),
    )
    for name, why in evaluation.get("left_out", {}).items():
        say(f"  not measured: {name}: {why}")
    say(
        f"{seconds['total']:.1f} s in all, {seconds['training']:.1f} s of them training and {seconds['pictures']:.1f} s pictures (guidance {GUIDANCE:g}, {steps} steps)"
    )
    say(f"report: {report}")
    return report


def main() -> None:
    """``python -m adb_core.app.demo`` is ``adb demo``."""
    import sys

    from .cli import main as command_line

    command_line(["demo", *sys.argv[1:]])


if __name__ == "__main__":
    main()
