"""Write a prompt, choose a seed and a guidance scale, see the picture of each model."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets
import numpy as np

from ..base import Drawable
from ..generation import generate
from ..models import drawing_defaults
from ..pictures import enlarge, side_by_side
from .panel import Panel, Worker, wide


class PromptBench(Panel):
    """Write a prompt, choose a seed and a guidance scale, see the picture of each model.

    Args:
        models: name -> Result, SavedResult or base model; prompts for results carry ``{}``.
        steps, guidance: None is what suits the model (the first one, for guidance).
        category: what ``{}`` becomes in a prompt for a base model, which knows no concept.
    """

    def __init__(
        self,
        models: Mapping[str, Drawable],
        prompt: str = "a photo of a {} on the beach",
        steps: int | None = None,
        guidance: float | None = None,
        category: str = "{}",
    ):
        self.models, self.steps, self.category = dict(models), steps, category
        first = next(iter(self.models.values())).base
        guidance = (
            drawing_defaults(first.name, first.side).guidance if guidance is None else guidance
        )
        self.prompt = wide("Text", "prompt", value=prompt, layout={"width": "640px"})
        self.seed = wide("IntSlider", "seed", min=0, max=99, value=0)
        self.guidance = wide("FloatSlider", "guidance", min=1.0, max=10.0, step=0.5, value=guidance)
        self.draw = ipywidgets.Button(description="Draw")
        self.stop = ipywidgets.Button(description="Stop")
        buttons = ipywidgets.HBox([self.draw, self.stop])
        super().__init__(
            [self.prompt, self.seed, self.guidance, buttons],
            f"Prompt bench: {', '.join(self.models)}",
        )
        self.worker = Worker(self.say, self.draw, self.stop)
        self.draw.on_click(lambda _: self.worker.run(self.work))
        self.say("press Draw")

    def work(self) -> None:
        """Draw one picture with every model, in the calling thread."""
        drawn: list[np.ndarray] = []
        for name, model in self.models.items():
            if self.worker.stopping.is_set():
                return self.say("stopped")
            self.say(f"drawing with {name} ...")
            drawn.append(enlarge(self._draw(model)))
            self.paint(side_by_side(*drawn))
        self.say(
            f"from left to right: {', '.join(self.models)}; "
            f"seed {self.seed.value}, guidance {self.guidance.value:g}"
        )

    def _draw(self, model: Drawable) -> np.ndarray:
        prompt = self.prompt.value
        if model.subject is None:  # a base model knows no concept
            prompt = prompt.replace("{}", self.category)
        guidance = self.guidance.value
        return generate(
            model, prompt, [self.seed.value], steps=self.steps, guidance=guidance
        ).images[0]
