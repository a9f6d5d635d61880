"""The regularizer, retrained: choose its weights, see what becomes of pictures and maps."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np

from ..base import Base
from ..concept import Concept
from ..generation import generate
from ..personalization import Run
from ..pictures import enlarge, side_by_side
from ..recipes import Recipe, Stage
from ..result import Result
from ..teaching.grid import Grid
from .live import gallery, live_curve
from .panel import Panel, Worker, picture_box, put, quick_png, wide

VALUES = (0.0, 0.1, 0.5, 2.0, 5.0, 20.0, 100.0, 1000.0, 20_000.0, 50_000.0)  # of the sliders
WEIGHTS = ("lambda_mu", "lambda_sigma")
REDRAW = 0.5  # seconds between two pictures of the live curve


class RegularizerPlayground(Panel):
    """Choose lambda_mu and lambda_sigma of each stage; see a precomputed point, or train this one.

    Args:
        base, concept: what is trained. recipe: whose stages' weights are replaced by the sliders'.
        grid: of :func:`adb_core.teaching.load_grid`, whose points have the same weights in every
            stage after the first; None leaves only the button.
        prompts: two or three, with ``{}``; drawn after training.
        sampling: keywords of :func:`adb_core.generate`; 20 steps unless they say otherwise.
    """

    def __init__(
        self,
        base: Base,
        concept: Concept,
        recipe: Recipe,
        grid: Grid | None = None,
        prompts: Sequence[str] = ("a photo of a {} wearing a hat on the beach",),
        seed: int = 0,
        **sampling,
    ):
        self.base, self.concept, self.recipe, self.grid = base, concept, recipe, grid
        self.prompts, self.seed = list(prompts), seed
        self.sampling: dict[str, Any] = {"steps": 20, **sampling}
        self.tried: list[tuple[str, np.ndarray]] = []
        self.sliders = {(s.name, name): _slider(s, name) for s in recipe.stages for name in WEIGHTS}
        self.together = self._box()
        rows = [
            ipywidgets.HBox(
                [self.sliders[s.name, name] for name in WEIGHTS],
                layout={"flex_flow": "row wrap"},
            )
            for s in recipe.stages
        ]
        super().__init__([*rows, self.together], f"The regularizer, on {concept.name}")
        self._add_training()
        self.watch(self._look_up, *self.sliders.values())

    def _box(self) -> ipywidgets.Checkbox:
        """The box that makes the later stages' sliders follow each other."""
        later = self.recipe.stages[1:]
        for stage in later:
            for name in WEIGHTS:
                self.sliders[stage.name, name].observe(
                    lambda change, name=name: self._follow(name, change["new"]), names="value"
                )
        return ipywidgets.Checkbox(
            value=len(later) > 1,
            description="the same in all stages after the first",
            indent=False,
            disabled=len(later) < 2,
            layout={"width": "360px"},
        )

    def _add_training(self) -> None:
        """Buttons, progress, the live curve and the gallery, below the picture."""
        self.train = ipywidgets.Button(description="Train this")
        self.stop = ipywidgets.Button(description="Stop")
        self.progress = ipywidgets.IntProgress(
            min=0, max=1, value=0, description="steps", layout={"width": "420px"}
        )
        self.curve, self.gallery = picture_box(), picture_box()
        self.status = ipywidgets.HTML(value="")
        buttons = ipywidgets.HBox([self.train, self.stop, self.progress])
        below = (buttons, self.status, self.curve, self.gallery)
        self.view.children = (*self.view.children, *below)
        self.worker = Worker(self._report, self.train, self.stop)
        self.train.on_click(lambda _: self.worker.run(self.work))

    # ---- what the sliders say

    @property
    def chosen(self) -> Recipe:
        """The recipe with the sliders' weights."""
        stages = tuple(
            replace(s, **{name: self.sliders[s.name, name].value for name in WEIGHTS})
            for s in self.recipe.stages
        )
        return replace(self.recipe, name=f"{self.recipe.name} (playground)", stages=stages)

    @property
    def label(self) -> str:
        """The sliders' weights in words."""
        return "; ".join(f"{s.name} {s.lambda_mu:g}/{s.lambda_sigma:g}" for s in self.chosen.stages)

    def _follow(self, name: str, value: float) -> None:
        """Move the same weight of the other later stages along, as long as the box is ticked."""
        if self.together.value:
            for stage in self.recipe.stages[1:]:
                self.sliders[stage.name, name].value = value

    def _look_up(self) -> None:
        """Show the precomputed point, or say that this one has to be trained."""
        point = self.grid.find(self.chosen) if self.grid is not None else None
        weights = f"{self.label} (lambda_mu/lambda_sigma)"
        if point is None:
            put(self.picture, b"")
            there = f" (precomputed: {self.grid.axes})" if self.grid is not None else ""
            return self.say(f"{weights}: not precomputed; press 'Train this'{there}")
        put(self.picture, point.png)
        self.say(f"{weights}, precomputed: {point.text}")

    # ---- training

    def work(self) -> None:
        """Train the chosen point in the calling thread, drawing the curve as it goes."""
        plan, label, began = self.chosen, self.label, time.monotonic()
        self._report("preparing ...")
        self.progress.max, self.progress.value = sum(s.steps for s in plan.stages), 0
        self._draw_curve([])  # at once: encoding the photos' views takes half a second
        result = self._train(plan, label)
        if len(result.history) < self.progress.max:
            steps = len(result.history)
            return self._report(f"stopped after {steps} steps; nothing else has changed")
        self._report("drawing ...")
        images = generate(result, self.prompts, [self.seed], **self.sampling).images
        self.tried.append((label, side_by_side(*(enlarge(image, 160) for image in images))))
        put(self.gallery, quick_png(gallery(self.tried)))
        took = time.monotonic() - began
        self._report(f"trained {label} in {took:.0f} s; the newest is at the bottom")

    def _train(self, plan: Recipe, label: str) -> Result:
        """Train until the end or until somebody presses Stop."""
        run, drawn = Run(self.base, self.concept, plan, seed=self.seed), 0.0
        for record in run:
            self.progress.value = len(run.result.history)
            if time.monotonic() - drawn > REDRAW:
                drawn = time.monotonic()
                self._draw_curve(run.result.history)
                self._report(
                    f"training {label}: stage {record.stage}, "
                    f"step {record.step} of {record.steps}, loss {record.loss:.3f}"
                )
            if self.worker.stopping.is_set():
                break
        self._draw_curve(run.result.history)
        return run.result

    def _draw_curve(self, history: Sequence) -> None:
        put(self.curve, quick_png(live_curve(history, self.progress.max)))

    def _report(self, text: str) -> None:
        self.status.value = html.escape(text)


def _slider(stage: Stage, name: str) -> ipywidgets.SelectionSlider:
    """A slider of one stage's weight, which can also be set to the recipe's own value."""
    values = sorted({*VALUES, getattr(stage, name)})
    slider = wide(
        "SelectionSlider",
        f"{stage.name}: {name}",
        options=[(f"{v:g}", v) for v in values],
        value=getattr(stage, name),
        layout={"width": "360px"},
        continuous_update=True,
    )
    slider.style.description_width = "170px"
    return slider
