"""``adb demo`` and ``adb train``: pictures in, a model out."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ...system.commands import INTERRUPTED
from .. import arguments, options as o

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
    steps_scale: o.StepsScale = 1.0,
    lr_scale: o.LrScale = 1.0,
    weight_scale: o.WeightScale = 1.0,
    views: o.Views = 16,
    accumulation: o.Accumulation = 1,
    save_every: o.SaveEvery = 50,
    tensorboard: o.Tensorboard = False,
    quiet: o.Quiet = False,
) -> None:
    """Personalize a model: pictures in, a model folder out.

    The run saves itself on the way. After Ctrl-C or a crash the same command goes on where it was
    and ends with the same weights. A folder that holds another run's checkpoint is refused.
    OUT/model is a plain diffusers folder, and comes with a model card.
    Several GPUs: accelerate launch -m adb_core train ...
    """
    arguments.check_seed(seed)
    preset = preset or ("tiny" if base == "tiny" else "paper")
    plan = arguments.find_recipe(recipe, preset, steps_scale, lr_scale, weight_scale)
    arguments.check_counts(views=views, accumulation=accumulation, save_every=save_every)
    arguments.check_device(device)
    arguments.check_precision(mixed_precision, device)
    arguments.refuse_pickle(base)
    pictures = arguments.find_concept(concept, category, placeholder)
    arguments.check_folder(out, resume)
    machine = Machine(base, device, mixed_precision, tensorboard, quiet)
    options = {"seed": seed, "out": out, "resume": resume, "view_count": views}
    options |= {"accumulation": accumulation, "save_every": save_every}
    Training(pictures, plan, machine, options).run()


@dataclass(frozen=True)
class Machine:
    """Which model, where, and how it computes: options of ``adb train``."""

    base: str
    device: str
    mixed_precision: str
    tensorboard: bool
    quiet: bool


@dataclass(frozen=True)
class Training:
    """``adb train`` after its arguments were checked; ``options`` are those of a Run."""

    concept: Concept
    plan: Recipe
    machine: Machine
    options: dict

    def run(self) -> None:
        """Train, save, and say what to try; after Ctrl-C, say how to go on."""
        from ... import base, engine
        from ...checkpoint import CHECKPOINT
        from ...system.devices import pick_device

        machine, out = self.machine, self.options["out"]
        accelerator = engine.make_accelerator(
            pick_device(machine.device),
            machine.mixed_precision,
            trackers="tensorboard" if machine.tensorboard else None,
            folder=str(out / "logs"),
        )
        loaded = base.load_base(machine.base, device=machine.device)
        say = typer.echo if accelerator.is_main_process else lambda *_, **__: None
        before = _written(out / CHECKPOINT)
        try:
            self._train(loaded, accelerator, say)
        except KeyboardInterrupt:
            after = _written(out / CHECKPOINT)
            saved = after is not None and (self.options["resume"] or after != before)
            say(_goodbye(out, saved), err=True)
            raise typer.Exit(INTERRUPTED) from None
        say(f"personalized model: {out / 'model'}")
        folder = shlex.quote(str(out))
        say(f'try: adb generate "a photo of a {{}} on the beach" --model {folder}')

    def _train(self, base, accelerator, say) -> None:
        from ...personalization import Run

        shown = not self.machine.quiet and accelerator.is_main_process
        how = {"accelerator": accelerator, "progress": shown, "in_place": True}
        run = Run(base, self.concept, self.plan, **how, **self.options)
        for record in run:
            if record.is_last:
                say(stage_line(run))
        if accelerator.is_main_process:
            run.result.save_pretrained(self.options["out"] / "model")
        accelerator.wait_for_everyone()


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
