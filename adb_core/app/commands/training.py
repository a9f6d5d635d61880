"""``adb demo`` and ``adb train``: pictures in, a model out."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...system.commands import INTERRUPTED, InputError
from .. import arguments
from .. import options as o

if TYPE_CHECKING:
    from ...concept import Concept
    from ...personalization import Result
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
    steps_scale: o.StepsScale = 1.0,
    lr_scale: o.LrScale = 1.0,
    weight_scale: o.WeightScale = 1.0,
    views: o.Views = 16,
    accumulation: o.Accumulation = 1,
    tensorboard: o.Tensorboard = False,
    quiet: o.Quiet = False,
) -> None:
    """Personalize a model: pictures in, a model folder out.

    The run saves itself every 50 steps. After Ctrl-C or a crash the same command goes on where it
    was and ends with the same weights. A folder that holds another run's checkpoint is refused.
    OUT/model is a plain diffusers folder, and comes with a model card.
    Several GPUs: accelerate launch -m adb_core train ...
    """
    arguments.check_seed(seed)
    preset = preset or ("tiny" if base == "tiny" else "paper")
    plan = arguments.find_recipe(recipe, preset, steps_scale, lr_scale, weight_scale)
    for name, value in (("--views", views), ("--accumulation", accumulation)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    arguments.check_device(device)
    arguments.check_precision(mixed_precision, device)
    arguments.refuse_pickle(base)
    pictures = arguments.find_concept(concept, category, placeholder)
    arguments.check_folder(out, resume)
    machine = Machine(base, device, mixed_precision, tensorboard, accumulation, quiet)
    Training(pictures, plan, out, seed, resume, views, machine).run()


@dataclass(frozen=True)
class Machine:
    """Which model, where, and how it computes: options of ``adb train``."""

    base: str
    device: str
    mixed_precision: str
    tensorboard: bool
    accumulation: int
    quiet: bool


@dataclass(frozen=True)
class Training:
    """``adb train`` after its arguments were checked."""

    concept: Concept
    plan: Recipe
    out: Path
    seed: int
    resume: bool
    views: int
    machine: Machine

    def run(self) -> None:
        """Train, save, and say what to try; after Ctrl-C, say how to go on."""
        from ... import base
        from ...personalization import CHECKPOINT
        from ...system.devices import pick_device
        from ...training import make_accelerator

        machine = self.machine
        accelerator = make_accelerator(
            pick_device(machine.device),
            machine.mixed_precision,
            trackers="tensorboard" if machine.tensorboard else None,
            folder=str(self.out / "logs"),
        )
        loaded = base.load_base(machine.base, device=machine.device)
        say = typer.echo if accelerator.is_main_process else lambda *_, **__: None
        before = _written(self.out / CHECKPOINT)
        try:
            self._personalize(loaded, accelerator, say)
        except KeyboardInterrupt:
            after = _written(self.out / CHECKPOINT)
            say(self._goodbye(after is not None and (self.resume or after != before)), err=True)
            raise typer.Exit(INTERRUPTED) from None
        say(f"personalized model: {self.out / 'model'}")
        folder = shlex.quote(str(self.out))
        say(f'try: adb generate "a photo of a {{}} on the beach" --model {folder}')

    def _personalize(self, base, accelerator, say) -> None:
        from ...personalization import personalize

        # Prior preservation samples from the untouched model; others need no second copy of it.
        alone = not any(stage.prior_weight for stage in self.plan.stages)
        result = personalize(
            base,
            self.concept,
            self.plan,
            seed=self.seed,
            out=self.out,
            resume=self.resume,
            view_count=self.views,
            accelerator=accelerator,
            accumulation=self.machine.accumulation,
            progress=not self.machine.quiet and accelerator.is_main_process,
            in_place=alone,
            on_stage=lambda r, k: say(stage_line(r, k)),
        )
        if accelerator.is_main_process:
            result.save_pretrained(self.out / "model")
        accelerator.wait_for_everyone()

    def _goodbye(self, saved: bool) -> str:
        if not saved:
            return (
                "adb: stopped before anything was saved; "
                f"to start again: adb {shlex.join(sys.argv[1:])}"
            )
        words = [word for word in sys.argv[1:] if word != "--no-resume"]
        return f"adb: stopped and saved in {self.out}; to go on: adb {shlex.join(words)}"


def _written(path: Path) -> int | None:
    """When a file was last written, or None."""
    return path.stat().st_mtime_ns if path.exists() else None


def stage_line(result: Result, number: int) -> str:
    """What is said of a stage that has just ended."""
    stages = result.learner.recipe.stages
    stage = stages[number]
    losses = [r.loss for r in result.history if r.stage == stage.name]
    last = losses[-max(1, stage.steps // 10) :]
    return (
        f"stage {number + 1} of {len(stages)}, {stage.name}: "
        f"loss {sum(last) / len(last):.4f} over the last {len(last)} steps"
    )
