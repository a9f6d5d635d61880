"""Running a recipe from beginning to end, and what comes out of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .checkpoint import Progress, load_checkpoint, save_checkpoint
from .concept import Augmentation, Concept
from .files import atomic_save_pretrained, atomic_write_json, atomic_write_text
from .recipes import Recipe, recipe as named_recipe
from .training import Learner, StepRecord, TrainingError, make_optimizer, train_stage

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .base import Base

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class Result:
    """A personalized model.

    Attributes:
        learner: the trained parts; history: every step's record, stage after stage.
    """

    learner: Learner
    history: tuple[StepRecord, ...] = ()

    @property
    def token(self):
        return self.learner.token

    @property
    def subject(self) -> str:
        """What ``{}`` in a prompt becomes, as "<pico> cat"."""
        return self.learner.prompt("{}")

    def pipeline(self):
        """A plain diffusers pipeline that shares these modules."""
        from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        base, token = self.learner.base, self.learner.token
        token.bake()
        pipeline = StableDiffusionPipeline(
            vae=base.vae, text_encoder=token.text_encoder, tokenizer=token.tokenizer, unet=self.learner.unet,
            scheduler=DPMSolverMultistepScheduler.from_config(base.scheduler.config),
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write a folder that plain ``StableDiffusionPipeline.from_pretrained`` loads, with a model card.

        The folder also holds ``learned_embeds.safetensors`` for ``load_textual_inversion``. It
        appears whole or not at all.

        Raises:
            DiskFull: no space left.
        """
        def write(target: Path) -> None:
            self.pipeline().save_pretrained(target, safe_serialization=True)
            self.token.save(target / "learned_embeds.safetensors")
            atomic_write_text(target / "README.md", model_card(self))

        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        atomic_save_pretrained(write, folder, staging=folder.parent)
        return folder


def model_card(result: Result) -> str:
    """The README of a saved model: concept, recipe, base, licence, provenance, use and limits."""
    learner = result.learner
    concept, base, plan = learner.concept, learner.base, learner.recipe
    rows = "\n".join(
        f"| {s.name} | {', '.join(s.train)} | {s.steps} | {s.lr:g} | {s.batch_size} | {s.lambda_mu:g} | {s.lambda_sigma:g} |" for s in plan.stages)
    license_ = concept.info.get("license", "not stated")
    return f"""---
library_name: diffusers
pipeline_tag: text-to-image
tags: [personalization, {plan.name}]
---
# {concept.name}

A Stable Diffusion model that knows one more word, `{concept.placeholder}`: a {concept.category}.
Write it as "{result.subject}", for example "{learner.prompt('a photo of a {} on the beach')}".

| what | value |
|---|---|
| base model | {base.name}{f' at {base.revision}' if base.revision else ''} (its licence applies to these weights too) |
| recipe | {plan.name} |
| training images | {len(concept.images)}, licence: {license_} |
| provenance of the images | {concept.info.get('provenance', 'not stated')} |
| seed | {learner.seed} |

| stage | trains | steps | learning rate | batch | lambda_mu | lambda_sigma |
|---|---|---|---|---|---|---|
{rows}

Method: AttnDreamBooth (Pang et al., NeurIPS 2024, arXiv 2406.05000) or the baseline named above.

Intended use: pictures of this one concept, by people who may use its images. Do not use it to
imitate people or artists without their consent. Limits: it was trained on {len(concept.images)} pictures and can
repeat their backgrounds and poses, forget parts of long prompts, and change what the base model
draws for "{concept.category}".
"""


def personalize(
    base: Base, concept: Concept, recipe: str | Recipe = "attndreambooth", *, preset: str = "tiny", seed: int = 0,
    out: str | Path | None = None, resume: bool = True, save_every: int = 50, view_count: int = 16,
    augmentation: Augmentation = Augmentation(), accelerator: Accelerator | None = None, progress: bool = False,
    on_step: Callable[[StepRecord], None] | None = None, on_stage: Callable[[Result, int], None] | None = None,
    in_place: bool = False,
) -> Result:
    """Run a recipe.

    Args:
        recipe: a name (see :data:`adb_core.recipes.RECIPES`) with its ``preset``, or a Recipe.
        out: folder for checkpoints; None keeps everything in memory.
        resume: go on from a checkpoint in ``out``; the result equals an uninterrupted run's.
        save_every: steps between checkpoints.
        on_step: called with every record; on_stage: called with the result so far and the
            number of the stage that just ended.

    Raises:
        CheckpointError: ``out`` holds another run's checkpoint.
        TrainingError: the loss became NaN; the last good checkpoint stays.
        KeyboardInterrupt: after saving; the same call resumes.
    """
    plan = named_recipe(recipe, preset) if isinstance(recipe, str) else recipe
    learner = Learner(base, concept, plan, seed=seed, view_count=view_count, augmentation=augmentation, in_place=in_place)
    result = Result(learner)
    path = Path(out) / CHECKPOINT if out is not None else None
    at, optimizer, history = Progress(0, 0), None, []
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            at, optimizer = load_checkpoint(path, learner)
            history = _read_history(path.parent, at, plan)
    for number in range(at.stage, len(plan.stages)):
        _run_stage(result, number, at if number == at.stage else Progress(number, 0), optimizer, history, path,
                   save_every, accelerator, progress, on_step)
        optimizer = None
        result.history = tuple(history)
        if on_stage is not None:
            on_stage(result, number)
    result.history = tuple(history)
    return result


def _run_stage(result, number, at: Progress, optimizer, history, path, save_every, accelerator, progress, on_step) -> None:
    from tqdm.auto import tqdm

    learner = result.learner
    stage = learner.recipe.stages[number]
    optimizer = optimizer or make_optimizer(learner, stage)
    steps = train_stage(learner, stage, accelerator=accelerator, optimizer=optimizer, start=at.step)
    bar = tqdm(total=stage.steps, initial=at.step, desc=stage.name, unit="step", disable=not progress)
    done, saved = at.step, at.step

    def save(progress_: Progress, moments) -> None:
        if path is not None and (accelerator is None or accelerator.is_main_process):
            _write_history(path.parent, history)  # first: a checkpoint never outruns its history
            save_checkpoint(path, learner, progress_, moments)

    try:
        for record in steps:
            history.append(record)
            done = record.step
            bar.update()
            bar.set_postfix(loss=f"{record.loss:.3f}", refresh=False)
            if done % save_every == 0 and done < stage.steps:
                save(Progress(number, done), optimizer)
                saved = done
            if on_step is not None:
                on_step(record)
    except KeyboardInterrupt:
        steps.close()
        if done > saved:
            save(Progress(number, done), optimizer)
        raise
    except TrainingError:
        steps.close()
        raise
    finally:
        bar.close()
    save(Progress(number + 1, 0), None)


# ---------------------------------------------------------------- history on disk


def _write_history(folder: Path, history: list[StepRecord]) -> None:
    atomic_write_json(folder / "history.json", [asdict(r) for r in history])


def _read_history(folder: Path, at: Progress, plan: Recipe) -> list[StepRecord]:
    """The records up to a checkpoint; those after it will be made again."""
    path = folder / "history.json"
    if not path.exists():
        return []
    tuples = ("layers", "v_mean", "v_var", "category_mean", "category_var")
    records = [StepRecord(**{k: tuple(v) if k in tuples else v for k, v in r.items()}) for r in json.loads(path.read_text())]
    names = [s.name for s in plan.stages]
    return [r for r in records if (names.index(r.stage), r.step) <= (at.stage, at.step) and names.index(r.stage) <= at.stage]
