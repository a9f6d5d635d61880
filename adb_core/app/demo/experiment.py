"""The demo itself: personalize, draw, measure, write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ...base import Base
from ...checkpoint import CHECKPOINT
from ...concept import Concept
from ...engine import make_accelerator
from ...generation import GUIDANCE, STEPS
from ...personalization import Run
from ...recipes import Recipe
from ...records import write_history
from ...result import Result, check_target
from ...system.files import atomic_write_json, check_writable
from ..report import write_report
from .diary import Diary, demo_prompts
from .figures import draw_figures
from .numbers import drift_numbers, measure, numbers_of
from .page import report_sections


class DemoError(RuntimeError):
    """The demo cannot start; one line with the cure."""


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


@dataclass(frozen=True)
class Experiment:
    """The settings of a demo.

    Attributes:
        steps: sampling steps of the pictures.
        view_count: K, augmented views of each photo.
        mixed_precision: of the training, see :func:`adb_core.make_accelerator`.
        say: gets one line now and then.
    """

    out: Path = Path("out/demo")
    seed: int = 0
    steps: int = STEPS
    view_count: int = 16
    mixed_precision: str = "no"
    progress: bool = True
    say: Callable[[str], None] = print

    def run(self, base: Base, concept: Concept, recipe: Recipe) -> Path:
        """Personalize, draw, measure and write everything; returns the report's path.

        Raises:
            DemoError: ``out`` cannot be used. Everything that :class:`adb_core.Run` raises.
        """
        out, began = check_out(self.out), time.perf_counter()
        diary = Diary(demo_prompts(), self.seed, self.steps, self.progress, self.say)
        result = self._personalize(base, concept, recipe, diary)
        training = sum(r.seconds for r in result.history)
        result.save_pretrained(out / "model")
        pictures = draw_figures(diary, concept, out)
        evaluation = measure(diary, self.seed)
        total = time.perf_counter() - began
        seconds = {"training": training, "pictures": diary.seconds, "total": total}
        numbers = numbers_of(diary, evaluation, seconds)
        write_history(out / "history.json", result.history)
        atomic_write_json(out / "drift.json", drift_numbers(diary.points))
        atomic_write_json(out / "metrics.json", numbers)
        title = f"{concept.name}, learned in {len(recipe.stages)} stages"
        sections = report_sections(numbers, pictures, result.learner)
        report = write_report(out / "report.html", title, sections)
        for name, why in evaluation.get("left_out", {}).items():
            self.say(f"  not measured: {name}: {why}")
        self.say(
            f"{total:.1f} s in all, {training:.1f} s of them training and {diary.seconds:.1f} s "
            f"pictures (guidance {GUIDANCE:g}, {self.steps} steps)"
        )
        self.say(f"report: {report}")
        return report

    def _personalize(self, base: Base, concept: Concept, recipe: Recipe, diary: Diary) -> Result:
        accelerator = make_accelerator(base.device, self.mixed_precision)
        precision = {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
        self.say(
            f"{concept.name}: {len(concept.images)} pictures of a {concept.category}, on "
            f"{base.device} with {torch.get_num_threads()} threads, in {precision}"
        )
        how = {"accelerator": accelerator, "progress": self.progress}
        run = Run(base, concept, recipe, seed=self.seed, view_count=self.view_count, **how)
        diary.start(run.result)
        for record in run:
            diary.step(record)
            if record.is_last:
                diary.stage(record.stage)
        return run.result
