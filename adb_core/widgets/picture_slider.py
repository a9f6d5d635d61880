"""A slider through rows of pictures that were drawn beforehand."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from ..pictures import enlarge, side_by_side
from .panel import Panel, wide


class PictureSlider(Panel):
    """One row of pictures for each position, and a sentence below.

    Args:
        name: what the slider moves through. rows: position -> uint8 pictures, in their order.
        said: position -> the sentence. title: above it. start: the first position that is shown.

    Raises:
        ValueError: no rows, or a row without its sentence.
    """

    def __init__(
        self,
        name: str,
        rows: Mapping[Hashable, Sequence[np.ndarray]],
        said: Mapping[Hashable, str],
        title: str = "",
        start: Hashable | None = None,
    ):
        if not rows or set(rows) != set(said):
            raise ValueError("every position needs pictures and a sentence, and there must be one")
        self.rows, self.said = rows, said
        first = next(iter(rows)) if start is None else start
        self.at = wide("SelectionSlider", name, options=list(rows), value=first)
        super().__init__([self.at], title)
        self.watch(self._refresh, self.at)

    def _refresh(self) -> None:
        self.paint(side_by_side(*map(enlarge, self.rows[self.at.value])))
        self.say(self.said[self.at.value])
