"""Two pictures of one size, and a slider that wipes from one to the other."""

from __future__ import annotations

import numpy as np

from ..pictures import enlarge
from .panel import Panel, wide


class BeforeAfter(Panel):
    """Two pictures of one size and a slider that wipes from one to the other.

    Raises:
        ValueError: they differ in size.
    """

    def __init__(
        self, before: np.ndarray, after: np.ndarray, labels: tuple[str, str] = ("before", "after")
    ):
        if before.shape != after.shape:
            raise ValueError(
                f"the two pictures must have one size, got {before.shape} and {after.shape}"
            )
        self._pair, self.labels = (enlarge(before), enlarge(after)), labels
        self.edge = wide("IntSlider", f"{labels[0]} | {labels[1]}", min=0, max=100, value=50)
        super().__init__([self.edge], f"{labels[0]} and {labels[1]}")
        self.watch(self._refresh, self.edge)

    def _refresh(self) -> None:
        before, after = self._pair
        column = round(before.shape[1] * self.edge.value / 100)
        mixed = np.concatenate([before[:, :column], after[:, column:]], axis=1)
        if 0 < column < before.shape[1]:
            mixed[:, max(0, column - 1) : column + 1] = 255
        self.paint(mixed)
        self.say(f"left {self.edge.value} %: {self.labels[0]}; the rest: {self.labels[1]}")
