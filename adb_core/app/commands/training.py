"""``adb demo`` and ``adb train``: pictures in, a model out."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import typer

from ...system.commands import INTERRUPTED
from ...system.weights import cast_weights, torch_dtype
from .. import arguments, options as o
from ..previews import Previews, read_prompts

if TYPE_CHECKING:
    from ...concept import Concept
    from ...personalization import Run
    from ...recipes import Recipe


def demo(
    concept: o.ConceptName = "pico",
    recipe: o.RecipeName = "attndreambooth",
    device: o.Device = "auto",
    seed: o.Seed = 0,
    mixed_precision: o.Precision = "auto",
    out: o.DemoFolder = Path("out/demo"),
) -> None:
    """Run the whole method on the tiny model and write a report.

    Trains all stages, draws six prompts after each with the attention of the new word, follows its
    embedding, measures, and puts it all into OUT/report.html, one page that needs no other file.
    """
    arguments.check_seed(seed)
    arguments.check_device(device)
    arguments.check_precision(mixed_precision, device)
    pictures = arguments.find_concept(concept, None, None)
    plan = arguments.find_recipe(recipe, "tiny")
    from ... import base
    from ..demo.experiment import Experiment, check_out

    check_out(out)
    settings = Experiment(out, seed=seed, mixed_precision=mixed_precision, say=typer.echo)
    settings.run(base.load_base("tiny", device=device), pictures, plan)


def train(
    concept: o.ConceptName,
    out: o.RunFolder,
    category: o.Category = None,
    placeholder: o.Placeholder = None,
    recipe: o.RecipeName = "attndreambooth",
    preset: o.Preset = None,
    base: o.BaseName = "tiny",
    device: o.Device = "auto",
    seed: o.Seed = 0,
    resume: o.Resume = True,
    mixed_precision: o.Precision = "auto",
    dtype: o.Dtype = None,
    tier: o.TierName = "auto",
    tf32: o.Tf32 = None,
    steps_scale: o.StepsScale = 1.0,
    lr_scale: o.LrScale = 1.0,
    weight_scale: o.WeightScale = 1.0,
    batch: o.BatchSize = None,
    rank: o.Rank = None,
    resolution: o.Resolution = None,
    views: o.Views = 16,
    crop: o.Crop = "random",
    flip: o.Flip = False,
    accumulation: o.Accumulation = 1,
    save_every: o.SaveEvery = 50,
    save_dtype: o.SaveDtype = "float32",
    prompt_set: o.PromptSet = None,
    preview_every: o.PreviewEvery = 50,
    steps: o.PreviewSteps = None,
    guidance: o.PreviewGuidance = None,
    tensorboard: o.Tensorboard = False,
    quiet: o.Quiet = False,
) -> None:
    """Personalize a model: pictures in, a model folder out.

    The run saves itself on the way. After Ctrl-C or a crash the same command goes on where it was
    and ends with the same weights. A folder that holds another run's checkpoint is refused.
    OUT/model is a plain diffusers folder, and comes with a model card.
    Several GPUs: accelerate launch -m adb_core train ...
    """
    prepared(SimpleNamespace(**locals())).run()


def prepared(asked: SimpleNamespace) -> Training:
    """The arguments of ``adb train``, all checked, before any weights load."""
    arguments.check_seed(asked.seed)
    preset = asked.preset or ("tiny" if asked.base == "tiny" else "paper")
    scales = asked.steps_scale, asked.lr_scale, asked.weight_scale
    plan = arguments.with_batch(arguments.find_recipe(asked.recipe, preset, *scales), asked.batch)
    plan = arguments.with_rank(plan, asked.rank)
    for name in ("views", "accumulation", "save_every", "preview_every"):
        arguments.check_counts(**{name: getattr(asked, name)})
    arguments.check_resolution(asked.resolution)
    arguments.check_device(asked.device)
    arguments.check_precision(asked.mixed_precision, asked.device)
    arguments.check_tier(asked.tier, asked.device)
    arguments.check_dtype(asked.dtype, "--dtype", plan)
    arguments.check_dtype(asked.save_dtype, "--save-dtype")
    arguments.refuse_pickle(asked.base)
    prompts = () if asked.prompt_set is None else read_prompts(asked.prompt_set)
    pictures = arguments.find_concept(asked.concept, asked.category, asked.placeholder)
    pictures = pictures.cropped(asked.crop)
    arguments.check_folder(asked.out, asked.resume)
    drawing = asked.seed, asked.steps, asked.guidance
    previews = Previews(prompts, asked.out / "previews", asked.preview_every, *drawing)
    machine = Machine(**{f.name: getattr(asked, f.name) for f in fields(Machine)})
    kept = ("seed", "out", "resume", "accumulation", "save_every", "resolution")
    options = {name: getattr(asked, name) for name in kept}
    augmentation = arguments.augmentation(asked.crop, asked.flip)
    options |= {"view_count": asked.views, "augmentation": augmentation}
    return Training(pictures, plan, machine, options, previews, asked.save_dtype)


@dataclass(frozen=True)
class Machine:
    """Which model, where, and how it computes: options of ``adb train``."""

    base: str
    device: str
    mixed_precision: str
    tensorboard: bool
    quiet: bool
    dtype: str | None
    tier: str
    tf32: bool | None


@dataclass(frozen=True)
class Training:
    """``adb train`` after its arguments were checked; ``options`` are those of a Run."""

    concept: Concept
    plan: Recipe
    machine: Machine
    options: dict
    previews: Previews
    save_dtype: str

    def run(self) -> None:
        """Train, save, and say what to try; after Ctrl-C, say how to go on."""
        from ... import base, engine, tiers
        from ...checkpoint import CHECKPOINT
        from ...explaining import no_bars
        from ...system.devices import pick_device
        from ...system.memory import free_memory

        machine, out = self.machine, self.options["out"]
        no_bars(machine.quiet)
        device = pick_device(machine.device)
        accelerator = engine.make_accelerator(
            device,
            tiers.precision_for(device, machine.mixed_precision),
            trackers="tensorboard" if machine.tensorboard else None,
            folder=str(out / "logs"),
        )
        free = free_memory(device)
        say = typer.echo if accelerator.is_main_process else lambda *_, **__: None

        def check(hollow):
            say(self._checked(hollow, accelerator, free))

        how = {"device": machine.device, **torch_dtype(machine.dtype)}
        loaded = base.load_base(machine.base, check=check, **how)
        for line in photo_lines(self.concept, self.options["resolution"] or loaded.side):
            say(line)
        before = _written(out / CHECKPOINT)
        try:
            with engine.lost_process(accelerator):
                self._train(loaded, accelerator, say, free)
        except KeyboardInterrupt:
            after = _written(out / CHECKPOINT)
            saved = after is not None and (self.options["resume"] or after != before)
            say(_goodbye(out, saved), err=True)
            raise typer.Exit(INTERRUPTED) from None
        say(f"personalized model: {out / 'model'}")
        folder = shlex.quote(str(out))
        say(f'try: adb generate "a photo of a {{}} on the beach" --model {folder}')

    def _train(self, base, accelerator, say, free: float) -> None:
        from ...personalization import Run
        from ...system.devices import tf32

        is_main = accelerator.is_main_process
        how = {"accelerator": accelerator, "progress": not self.machine.quiet and is_main}
        options, tier = self._fitted(base, free, {"in_place": True, **how, **self.options})
        with tf32(tier.tf32 if self.machine.tf32 is None else self.machine.tf32):
            run = Run(base, self.concept, self.plan, options)
            self.previews.check(run)
            for record in run:
                if record.is_last:
                    say(stage_line(run))
                if is_main and self.previews.is_due(record, run):
                    say(f"preview: {self.previews.draw(run, record)}")
        if is_main:
            run.result.save_pretrained(self.options["out"] / "model")
            if self.save_dtype != "float32":
                cast_weights(self.options["out"] / "model", self.save_dtype)
        accelerator.wait_for_everyone()

    def _checked(self, hollow, accelerator, free: float) -> str:
        """Find what a model cannot do before its weights are read; says which tier it gets, why.

        Args:
            hollow: the model without weights; free: GiB on the device.
        """
        from ...concept_token import ConceptToken
        from ...encoding import check_resolution

        check_resolution(hollow, self.options["resolution"])
        words = self.concept.placeholder, self.concept.category
        ConceptToken(hollow, *words, self.plan.init, self.plan.vectors)
        _, why, shares = self._tier(hollow, accelerator, free)
        return why if shares == 1 else f"{why}; the U-Net in {shares} shares where it is trained"

    def _tier(self, base, accelerator, free: float):
        """The tier, the reason for it, and into how many shares the U-Net is cut up."""
        from ... import tiers
        from ...engine import is_sharding
        from ...system.devices import pick_device

        shares = accelerator.num_processes if is_sharding(accelerator) else 1
        size = tiers.model_size(base, self.options["resolution"])
        device, name = pick_device(self.machine.device), self.machine.tier
        return *tiers.choose(free, device, size, self.plan, name, shares), shares

    def _fitted(self, base, free: float, options: dict):
        """The options of a Run with those of its tier, and the tier."""
        from ... import tiers
        from ...options import RunOptions

        tier, _, shares = self._tier(base, options["accelerator"], free)
        size = tiers.model_size(base, self.options["resolution"])
        fitted = tiers.fitted(RunOptions(**options), tier, size, base.device)
        return (fitted if shares == 1 else replace(fitted, optimizer="adamw")), tier


def photo_lines(concept: Concept, side: int) -> list[str]:
    """What is odd about photos, and a word on consent where nobody stated it."""
    from ...photos import CONSENT, remarks

    unstated = concept.statements.line()
    said = [] if unstated is None else [f"{unstated}; {CONSENT}"]
    return remarks(concept.images, concept.files, side) + said


def _goodbye(out: Path, saved: bool) -> str:
    """How to go on after Ctrl-C."""
    if not saved:
        again = shlex.join(sys.argv[1:])
        return f"adb: stopped before anything was saved; to start again: adb {again}"
    words = [word for word in sys.argv[1:] if word != "--no-resume"]
    return f"adb: stopped and saved in {out}; to go on: adb {shlex.join(words)}"


def _written(path: Path) -> int | None:
    """When a file was last written, or None."""
    return path.stat().st_mtime_ns if path.exists() else None


def stage_line(run: Run) -> str:
    """What is said of the stage that has just ended."""
    from ...records import by_stage, last_tenth

    number = run.at.stage  # stages that are done
    name = run.plan.stages[number - 1].name
    losses = [record.loss for record in last_tenth(by_stage(run.result.history)[name])]
    return (
        f"stage {number} of {len(run.plan.stages)}, {name}: "
        f"loss {sum(losses) / len(losses):.4f} over the last {len(losses)} steps"
    )
