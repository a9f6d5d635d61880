"""Where [V] was among the words, moment by moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..pictures import font
from ..plots import CATEGORY_COLOR, FAINT, INK, PAPER, V_COLOR, DriftPoint
from .panel import Panel, wide

SIZE, MARGIN, SPAN = (600, 320), 20, np.array([480, 280])  # pixels


class DriftExplorer(Panel):
    """Where [V] was among the words, step by step.

    Args:
        points: in order. vocabulary: (n, 2) projected words. words: word -> its place, to be named.
    """

    def __init__(
        self,
        points: Sequence[DriftPoint],
        vocabulary: np.ndarray,
        words: Mapping[str, tuple[float, float]],
    ):
        self.points = list(points)
        last = len(self.points) - 1
        self.at = wide("IntSlider", "moment", min=0, max=last, value=last)
        super().__init__([self.at], "Where is [V] among the words?")
        everything = np.concatenate([np.asarray(vocabulary, float), [p.at for p in self.points]])
        self._low = everything.min(0)
        self._range = np.maximum(everything.max(0) - self._low, 1e-9)
        self._back = self._background(vocabulary, words)
        self.watch(self._refresh, self.at)

    def _to_pixels(self, xy) -> np.ndarray:
        """Places (..., 2) of the projection as pixels."""
        return MARGIN + (np.asarray(xy, float) - self._low) / self._range * SPAN

    def _background(self, vocabulary, words) -> Image.Image:
        picture = Image.new("RGB", SIZE, PAPER)
        pen = ImageDraw.Draw(picture)
        for x, y in self._to_pixels(vocabulary):
            pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=FAINT)
        for word, place in words.items():
            x, y = self._to_pixels(place)
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=CATEGORY_COLOR)
            pen.text((x + 5, y - 7), word, fill=INK, font=font(12))
        return picture

    def _refresh(self) -> None:
        picture, now = self._back.copy(), self.points[self.at.value]
        pen = ImageDraw.Draw(picture)
        path = [tuple(self._to_pixels(p.at)) for p in self.points[: self.at.value + 1]]
        if len(path) > 1:
            pen.line(path, fill=V_COLOR, width=2)
        x, y = path[-1]
        pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=V_COLOR, outline=INK)
        pen.text((x + 8, y - 8), "[V]", fill=INK, font=font(14))
        self.paint(picture)
        near = ", ".join(f"{word} {cosine:.2f}" for word, cosine in now.drift.nearest[:3])
        self.say(
            f"step {now.step}: {now.drift.distance:.2f} from its start, "
            f"cosine to the category {now.drift.cosine_to_category:.2f}; nearest: {near}"
        )
