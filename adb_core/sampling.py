"""How prompts become pictures: steps, guidance and what goes with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .base import Drawable
from .models import TINY, drawing_defaults

STEPS, GUIDANCE = TINY.steps, TINY.guidance  # of the bundled model; others have their own


class PromptError(ValueError):
    """A prompt that cannot be used; one line with the cure."""


@dataclass(frozen=True)
class Sampling:
    """How prompts become pictures; :func:`generate` takes these fields as keywords too.

    Attributes:
        steps: sampling steps; guidance: classifier-free guidance scale, 1 switches it off; None
            is what suits the model, by the table in ``models.py``.
        scheduler: any diffusers scheduler class or object; None is DPM-Solver++.
        batch: pictures at once.
        maps: record cross-attention of ``words`` (None: every word of the prompt).
        resolution: record only layers with maps of this height.
        progress: show a bar.
    """

    steps: int | None = None
    guidance: float | None = None
    scheduler: Any = None
    batch: int = 8
    maps: bool = False
    words: Sequence[str] | None = None
    resolution: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        steps = 1 if self.steps is None else self.steps
        guidance = 1 if self.guidance is None else self.guidance
        if steps < 1 or not 1 <= guidance < math.inf or self.batch < 1:
            numbers = {"steps": self.steps, "guidance": self.guidance, "batch": self.batch}
            given = (f"{name} {n}" for name, n in numbers.items() if n is not None)
            raise PromptError(
                "steps and batch must be at least 1 and guidance at least 1 and finite, "
                f"got {', '.join(given)}"
            )

    def of(self, model: Drawable) -> Sampling:
        """The same, with the model's own steps and guidance where none were asked for."""
        steps, guidance = settled(model, self.steps, self.guidance)
        return replace(self, steps=steps, guidance=guidance)


def settled(model: Drawable, steps: int | None, guidance: float | None) -> tuple[int, float]:
    """Steps and guidance, the model's own where none were asked for."""
    own = drawing_defaults(model.base.name, model.base.side)
    steps = own.steps if steps is None else steps
    return steps, own.guidance if guidance is None else guidance


PLAIN = Sampling()
