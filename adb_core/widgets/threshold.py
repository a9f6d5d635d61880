"""Where to draw the line between the same individual and another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..plots import INK, OKABE_ITO, PAPER
from .panel import Panel, wide

WIDTH, HEIGHT, LOW, HIGH = 600, 240, -0.5, 1.0


class ThresholdPanel(Panel):
    """Which share of same and of different individuals an identity threshold lets through.

    Args:
        same, different: identity scores of pairs of one individual, and of two.
    """

    def __init__(self, same: Sequence[float], different: Sequence[float]):
        self.same, self.different = np.asarray(same, float), np.asarray(different, float)
        self.at = wide("FloatSlider", "threshold", min=LOW, max=HIGH, step=0.05, value=0.7)
        super().__init__([self.at], "The same individual?")
        self.watch(self._refresh, self.at)

    def shares(self) -> tuple[float, float]:
        """(of the same, of the different), let through by the threshold."""
        at = self.at.value
        return float((self.same > at).mean()), float((self.different > at).mean())

    def _refresh(self) -> None:
        picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
        pen = ImageDraw.Draw(picture)
        for values, color, ground, word in (
            (self.same, OKABE_ITO["vermillion"], 110, "same"),
            (self.different, OKABE_ITO["blue"], 220, "different"),
        ):
            heights, edges = np.histogram(np.clip(values, LOW, HIGH), 30, (LOW, HIGH))
            for height, left, right in zip(heights / heights.max(), edges, edges[1:], strict=False):
                box = (place(left), ground - 80 * height, place(right) - 2, ground)
                pen.rectangle(box, fill=color)
            pen.text((24, ground - 95), f"{word} individuals", fill=INK)
            pen.line((20, ground, WIDTH - 20, ground), fill=INK)
        at = place(self.at.value)
        pen.line((at, 10, at, HEIGHT - 10), fill=INK, width=2)
        self.paint(picture)
        same, different = self.shares()
        self.say(
            f"threshold {self.at.value:.2f}: accepts {100 * same:.0f} % of the same and "
            f"{100 * different:.0f} % of the different"
        )


def place(score: float) -> float:
    """The pixel column of a score."""
    return 20 + (score - LOW) / (HIGH - LOW) * (WIDTH - 40)
