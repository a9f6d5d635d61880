"""How the map of [V] forms: a slider through the moments of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..pictures import enlarge, overlay, side_by_side
from .panel import Panel, wide


class FormingMaps(Panel):
    """The maps of [V] and of its category in one photo, moment by moment, on one scale.

    Args:
        moments: (steps taken, maps as of :func:`adb_core.metrics.photo_maps`) in their order.
        photos: uint8 (n, h, w, 3), those that the maps are of.
        category: its word.

    Raises:
        ValueError: no moments, or maps of another number of photos.
    """

    def __init__(
        self,
        moments: Sequence[tuple[int, Mapping[str, np.ndarray]]],
        photos: np.ndarray,
        category: str,
    ):
        if not moments:
            raise ValueError("there are no moments to show")
        for step, maps in moments:
            if len(maps["v"]) != len(photos):
                raise ValueError(
                    f"after {step} steps there are maps of {len(maps['v'])} photos, "
                    f"and {len(photos)} photos"
                )
        self.moments, self.photos, self.category = list(moments), photos, category
        options = [(str(step), number) for number, (step, _) in enumerate(self.moments)]
        self.moment = wide("SelectionSlider", "steps", options=options, value=0)
        self.photo = wide("IntSlider", "photo", min=1, max=len(photos), value=1)
        super().__init__([self.moment, self.photo], "How the map of [V] forms")
        self.watch(self._refresh, self.moment, self.photo)

    def _refresh(self) -> None:
        (step, maps), number = self.moments[self.moment.value], self.photo.value - 1
        image = self.photos[number]
        v, category = (maps[who][number].mean(0) for who in ("v", "category"))  # (y, x) each
        top = max(float(v.max()), float(category.max()))
        heats = [overlay(image, heat, top) for heat in (v, category)]
        self.paint(side_by_side(enlarge(image), *heats))
        self.say(
            f"photo {number + 1} after {step} steps: largest attention of [V] {v.max():.2f}, "
            f"of {self.category} {category.max():.2f}"
        )
