"""Running a recipe from beginning to end, and what comes out of it."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from .checkpoint import CheckpointError, Progress, load_checkpoint, read_header, save_checkpoint
from .concept import Augmentation, Concept
from .recipes import Recipe
from .recipes import recipe as named_recipe
from .system.files import atomic_save_pretrained, atomic_write_json, atomic_write_text, sweep
from .training import Learner, StepRecord, batch_parts, check_finite, make_optimizer, train_stage

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .base import Base

CHECKPOINT = "checkpoint.safetensors"
MARKER = "adb.json"  # in a saved model: which word it learned
TRACKED = ("loss", "diffusion", "mean_part", "var_part", "prior", "grad_norm", "lr", "seconds")
AVERAGED = ("v_mean", "v_var", "category_mean", "category_var")  # one number a layer


class OutputError(RuntimeError):
    """A folder that holds something else; one line that names it and the cure."""


def check_target(folder: str | Path) -> None:
    """A folder is replaced only if it is empty or a saved result; whatever else lies there is not ours to remove.

    Raises:
        OutputError: it holds something else.
    """
    folder = Path(folder)
    if (
        folder.exists()
        and not (folder / MARKER).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise OutputError(
            f"{folder} is in the way, and not a saved model that may be replaced: choose another folder, or move it"
        )


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
        from .base import quiet

        with quiet():
            from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        base, token = self.learner.base, self.learner.token
        token.bake()
        pipeline = StableDiffusionPipeline(
            vae=base.vae,
            text_encoder=token.text_encoder,
            tokenizer=token.tokenizer,
            unet=self.learner.unet,
            scheduler=DPMSolverMultistepScheduler.from_config(base.scheduler.config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write a folder that plain ``StableDiffusionPipeline.from_pretrained`` loads, with a model card.

        The folder also holds ``learned_embeds.safetensors`` for ``load_textual_inversion``. It
        appears whole or not at all.

        Raises:
            OutputError: the folder holds something that is not a saved result.
            DiskFull: no space left.
        """
        from .base import quiet

        def write(target: Path) -> None:
            with quiet():
                self.pipeline().save_pretrained(target, safe_serialization=True)
            self.token.save(target / "learned_embeds.safetensors")
            atomic_write_text(target / "README.md", model_card(self))
            atomic_write_json(target / MARKER, self._marker())

        folder = Path(folder)
        check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        atomic_save_pretrained(write, folder, staging=folder.parent)
        return folder

    def _marker(self) -> dict:
        """What :func:`load_result` needs to know beyond the weights."""
        learner = self.learner
        return {
            "format": 1,
            "subject": self.subject,
            "placeholder": learner.concept.placeholder,
            "category": learner.concept.category,
            "words": list(self.token.words),
            "concept": learner.concept.name,
            "recipe": learner.recipe.name,
            "base": learner.base.name,
            "revision": learner.base.revision,
            "seed": learner.seed,
        }


@dataclass(frozen=True)
class SavedResult:
    """A saved model with the word it learned; :func:`adb_core.generate` takes it like a :class:`Result`.

    Attributes:
        base: the loaded parts, as of any model folder.
        subject: what ``{}`` in a prompt becomes; words: all words of the placeholder, one a vector.
        info: everything that ``adb.json`` says.
    """

    base: Base
    subject: str
    placeholder: str
    category: str
    words: tuple[str, ...]
    info: dict

    @property
    def token(self) -> SavedResult:
        """Itself: it expands prompts as the token did that was trained."""
        return self

    def expand(self, prompt: str) -> str:
        """Write out all vectors of the placeholder, as the tokenizer needs it."""
        return prompt.replace(self.placeholder, " ".join(self.words))

    def pipeline(self):
        """A plain diffusers pipeline that shares the modules of ``base``."""
        return self.base.pipeline()


def read_marker(folder: str | Path) -> dict:
    """``adb.json`` of a folder that :meth:`Result.save_pretrained` wrote.

    Raises:
        BaseModelError: it is missing or damaged.
    """
    from .base import BaseModelError

    path = Path(folder) / MARKER
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        if (
            all(isinstance(info[key], str) for key in ("subject", "placeholder", "category"))
            and info["words"]
        ):
            return info
        reason = "an entry is not a text"
    except FileNotFoundError as error:
        raise BaseModelError(
            f"{folder} is not a saved result: it has no {MARKER}; give the model folder that training wrote"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = str(error)
    raise BaseModelError(f"{path} is damaged ({reason}): train again, or copy the folder again")


def load_result(folder: str | Path, *, device: str = "auto") -> SavedResult:
    """Load what :meth:`Result.save_pretrained` wrote, ready for :func:`adb_core.generate`.

    Raises:
        BaseModelError: not such a folder, or a part of it is missing or damaged.
    """
    from .base import load_base

    info = read_marker(folder)
    base = load_base(str(folder), device=device)
    return SavedResult(
        base, info["subject"], info["placeholder"], info["category"], tuple(info["words"]), info
    )


def model_card(result: Result) -> str:
    """The README of a saved model: concept, recipe, base, licence, provenance, use and limits."""
    from .base import ALIASES, LICENSES

    learner = result.learner
    concept, base, plan = learner.concept, learner.base, learner.recipe
    rows = "\n".join(
        f"| {s.name} | {', '.join(s.train)} | {s.steps} | {s.lr:g} | {s.batch_size} | {s.lambda_mu:g} | {s.lambda_sigma:g} |"
        for s in plan.stages
    )
    license_ = concept.info.get("license", "not stated")
    source, _ = ALIASES.get(base.name, (base.name, None))
    facts = "".join(
        f"{key}: {value}\n"
        for key, value in (
            ("license", LICENSES.get(base.name)),
            ("base_model", source if "/" in source and not Path(source).exists() else None),
        )
        if value
    )
    return f"""---
{facts}library_name: diffusers
pipeline_tag: text-to-image
tags: [personalization, {plan.name}]
---
# {concept.name}

A Stable Diffusion model that knows one more word, `{concept.placeholder}`: a {concept.category}.
Write it as "{result.subject}", for example "{learner.prompt("a photo of a {} on the beach")}".

| what | value |
|---|---|
| base model | {base.name}{f" at {base.revision}" if base.revision else ""} (its licence applies to these weights too) |
| recipe | {plan.name} |
| training images | {len(concept.images)}, licence: {license_} |
| provenance of the images | {concept.info.get("provenance", "not stated")} |
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
    base: Base,
    concept: Concept,
    recipe: str | Recipe = "attndreambooth",
    *,
    preset: str = "tiny",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = True,
    save_every: int = 50,
    view_count: int = 16,
    augmentation: Augmentation = Augmentation(),
    accelerator: Accelerator | None = None,
    accumulation: int = 1,
    progress: bool = False,
    on_step: Callable[[StepRecord], None] | None = None,
    on_stage: Callable[[Result, int], None] | None = None,
    on_start: Callable[[Result], None] | None = None,
    in_place: bool = False,
) -> Result:
    """Run a recipe.

    Args:
        recipe: a name (see :data:`adb_core.recipes.RECIPES`) with its ``preset``, or a Recipe.
        out: folder for checkpoints; None keeps everything in memory.
        resume: go on from a checkpoint in ``out``; the result equals an uninterrupted run's.
        save_every: steps between checkpoints.
        accelerator: of :func:`adb_core.training.make_accelerator`; what it tracks with gets every step's
            numbers. accumulation: micro-batches a step, see :func:`adb_core.training.train_stage`.
        on_step: called with every record; on_stage: called with the result so far and the
            number of the stage that just ended; on_start: called with the result before the first step.

    Raises:
        CheckpointError: ``out`` holds another run's checkpoint.
        TrainingError: the loss or a weight became NaN; the last good checkpoint stays.
        KeyboardInterrupt: after saving; the same call resumes.
    """
    plan = named_recipe(recipe, preset) if isinstance(recipe, str) else recipe
    for stage in plan.stages:
        batch_parts(
            stage, accelerator.num_processes if accelerator is not None else 1, accumulation
        )
    learner = Learner(
        base,
        concept,
        plan,
        seed=seed,
        view_count=view_count,
        augmentation=augmentation,
        in_place=in_place,
    )
    result = Result(learner)
    path = Path(out) / CHECKPOINT if out is not None else None
    at, optimizer, history = Progress(0, 0), None, []
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if accelerator is None or accelerator.is_main_process:
            sweep(path.parent)
        if resume and path.exists():
            at, optimizer = load_checkpoint(path, learner)
            history = _read_history(path.parent, at, plan)
            result.history = tuple(history)
            scaler = read_header(path)["scaler"]
            if scaler and accelerator is not None and accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(scaler)
    if on_start is not None:
        on_start(result)
    with _tracking(accelerator, learner) as track:
        for number in range(at.stage, len(plan.stages)):
            _run_stage(
                result,
                number,
                at if number == at.stage else Progress(number, 0),
                optimizer,
                history,
                path,
                save_every,
                accelerator,
                accumulation,
                progress,
                track,
                on_step,
            )
            optimizer = None
            result.history = tuple(history)
            if on_stage is not None:
                on_stage(result, number)
    result.history = tuple(history)
    return result


@contextmanager
def _tracking(
    accelerator: Accelerator | None, learner: Learner
) -> Iterator[Callable[[StepRecord], None]]:
    """Within, the function that it yields sends a record's numbers to the accelerator's trackers, if there are any."""
    if accelerator is None or not accelerator.log_with:
        yield lambda record: None
        return
    before = [
        sum(s.steps for s in learner.recipe.stages[:k]) for k in range(len(learner.recipe.stages))
    ]
    first = dict(zip((s.name for s in learner.recipe.stages), before))
    accelerator.init_trackers(
        "adb",
        {
            "concept": learner.concept.name,
            "recipe": learner.recipe.name,
            "base": learner.base.name,
            "seed": learner.seed,
        },
    )

    def track(record: StepRecord) -> None:
        numbers = {name: getattr(record, name) for name in TRACKED}
        numbers |= {name: fmean(values) for name in AVERAGED if (values := getattr(record, name))}
        accelerator.log(
            {f"{record.stage}/{name}": value for name, value in numbers.items()},
            step=first[record.stage] + record.step,
        )

    try:
        yield track
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _run_stage(
    result,
    number,
    at: Progress,
    optimizer,
    history,
    path,
    save_every,
    accelerator,
    accumulation,
    progress,
    track,
    on_step,
) -> None:
    from tqdm.auto import tqdm

    learner = result.learner
    stage = learner.recipe.stages[number]
    optimizer = optimizer or make_optimizer(learner, stage)
    steps = train_stage(
        learner,
        stage,
        accelerator=accelerator,
        accumulation=accumulation,
        optimizer=optimizer,
        start=at.step,
    )
    bar = tqdm(
        total=stage.steps, initial=at.step, desc=stage.name, unit="step", disable=not progress
    )

    def save(progress_: Progress, moments) -> None:
        if path is not None and (accelerator is None or accelerator.is_main_process):
            check_finite(learner, stage)
            _write_history(path.parent, history)  # first: a checkpoint never outruns its history
            scaler = (
                accelerator.scaler.state_dict()
                if accelerator is not None and accelerator.scaler is not None
                else None
            )
            save_checkpoint(path, learner, progress_, moments, scaler)

    try:
        with deferred_interrupt() as interrupted:
            for record in steps:
                history.append(record)
                done = record.step
                bar.update()
                bar.set_postfix(loss=f"{record.loss:.3f}", refresh=False)
                track(record)
                try:
                    if on_step is not None:
                        on_step(record)
                    if interrupted():
                        raise KeyboardInterrupt
                except KeyboardInterrupt:
                    save(Progress(number, done), optimizer)
                    raise
                if done % save_every == 0 and done < stage.steps:
                    save(Progress(number, done), optimizer)
    finally:
        steps.close()
        bar.close()
    save(Progress(number + 1, 0), None)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C waits until the step is over, so that weights and step count agree.

    Yields a function that says whether it was pressed; a second press acts at once. Only the
    main thread can do this; elsewhere nothing changes.
    """
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number, frame) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- history on disk


def _write_history(folder: Path, history: list[StepRecord]) -> None:
    atomic_write_json(folder / "history.json", [asdict(r) for r in history])


def _read_history(folder: Path, at: Progress, plan: Recipe) -> list[StepRecord]:
    """The records up to a checkpoint; those after it will be made again."""
    path = folder / "history.json"
    if not path.exists():
        return []
    tuples = ("layers", *AVERAGED)
    names = [s.name for s in plan.stages]
    try:
        records = [
            StepRecord(**{k: tuple(v) if k in tuples else v for k, v in r.items()})
            for r in json.loads(path.read_text(encoding="utf-8"))
        ]
        if not all(r.stage in names for r in records):
            raise ValueError("a stage that the recipe does not have")
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): delete it, and its curves are lost but the run goes on"
        ) from error
    return [
        r
        for r in records
        if (names.index(r.stage), r.step) <= (at.stage, at.step)
        and names.index(r.stage) <= at.stage
    ]
