"""Slide along two trainings: pictures, maps of [V] and scores move together, and so does a point.

Everything that it shows is stored (:mod:`adb_core.teaching.tracks`); nothing is trained or drawn by
a model when a slider moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..pictures import enlarge, font, overlay, side_by_side, stacked
from ..plots import FAINT, INK, OKABE_ITO, PAPER
from ..teaching.tracks import SCORES, Track, Tracks, View
from .panel import Panel, wide

SIDE, GAP = 128, 6  # pixels of a picture; between two
HEAD = 22  # pixels of a line of text above a block
HEIGHT = 250  # pixels of the plane, and of the bars beside it
COLORS = (OKABE_ITO["vermillion"], OKABE_ITO["blue"])  # the first training's and the second's


class FrontierExplorer(Panel):
    """Two trainings of one individual side by side, at the same share of their presets.

    Above, what each draws, and where [V] looks in it; below, on the left, the way of both through
    the plane of text and identity up to here, and on the right their scores.

    Args:
        tracks: of :func:`adb_core.teaching.load_tracks`. first, second: names of recipes; None are
            the two that were stored last.

    Raises:
        ValueError: fewer than two recipes, or one that is not stored.
    """

    titled = True

    def __init__(
        self,
        tracks: Tracks,
        first: str | None = None,
        second: str | None = None,
    ):
        self.tracks = tracks
        recipes = tracks.recipes
        if len(recipes) < 2:
            raise ValueError(f"two recipes are compared, and stored are: {', '.join(recipes)}")
        chosen = (first or recipes[-2], second or recipes[-1])
        if unknown := [recipe for recipe in chosen if recipe not in recipes]:
            raise ValueError(f"no training of {unknown[0]!r} is stored: {', '.join(recipes)}")
        shares = [(f"{100 * share:.0f} %", k) for k, share in enumerate(tracks.shares)]
        self.at = wide("SelectionSlider", "of its preset", options=shares, value=0)
        # Sliders here too: in JupyterLab a dropdown loses its arrow keys to the notebook's cells.
        self.first = wide("SelectionSlider", "left", options=recipes, value=chosen[0])
        self.second = wide("SelectionSlider", "right", options=recipes, value=chosen[1])
        self.concept = wide("SelectionSlider", "individual", options=tracks.concepts)
        self.concept.layout.display = "none" if len(tracks.concepts) == 1 else None
        controls = [self.at, self.first, self.second, self.concept]
        super().__init__(controls, "Text against identity, while two recipes train")
        self._blocks: dict[tuple[str, str, int, int], np.ndarray] = {}
        self._tops = {  # one scale for all maps of an individual, so that any two can be compared
            name: max(
                float(view.maps.max())
                for (concept, _), track in tracks.by_name.items()
                for view in track.views
                if concept == name
            )
            for name in tracks.concepts
        }
        self.watch(self._refresh, *controls)

    @property
    def shown(self) -> tuple[Track, Track]:
        """The two trainings that are chosen."""
        name = self.concept.value
        first, second = (self.tracks.by_name[name, c.value] for c in (self.first, self.second))
        return first, second

    def _refresh(self) -> None:
        pair, k = self.shown, self.at.value
        above = [self._block(track, k, number) for number, track in enumerate(pair)]
        size = (above[0].shape[1], HEIGHT)
        below = [plane(pair, k, size), bars([track.views[k] for track in pair], size)]
        self.paint(stacked(side_by_side(*above, gap=24), side_by_side(*below, gap=24), gap=10))
        self.say("; ".join(self._said(track, k) for track in pair))

    def _said(self, track: Track, k: int) -> str:
        view = track.views[k]
        scores = ", ".join(f"{score} {view.scores[score]:.2f}" for score in SCORES)
        return f"{track.recipe} after {view.step} of {track.preset} steps: {scores}"

    def _block(self, track: Track, k: int, number: int) -> np.ndarray:
        """What a training draws at a moment, and below it where [V] looks; made once."""
        key = (track.concept, track.recipe, k, number)
        if key not in self._blocks:
            view, top = track.views[k], self._tops[track.concept]
            maps = [overlay(i, m, top, SIDE) for i, m in zip(view.images, view.maps, strict=True)]
            images = [enlarge(image, SIDE) for image in view.images]
            rows = [side_by_side(*row, gap=GAP) for row in (images, maps)]
            title = f"{track.recipe}: {view.stage}, {view.step} of {track.preset} steps"
            head = written(title, rows[0].shape[1], COLORS[number])
            self._blocks[key] = stacked(head, *rows, gap=GAP)
        return self._blocks[key]


def written(text: str, width: int, color: str = INK) -> np.ndarray:
    """A line of text as a picture, uint8 (HEAD, width, 3)."""
    picture = Image.new("RGB", (width, HEAD), PAPER)
    ImageDraw.Draw(picture).text((0, 3), text, fill=color, font=font(14))
    return np.asarray(picture)


def plane(pair: Sequence[Track], k: int, size: tuple[int, int]) -> np.ndarray:
    """Text (to the right) against identity (up): both ways up to moment ``k``, the rest in grey."""
    picture = Image.new("RGB", size, PAPER)
    pen, small = ImageDraw.Draw(picture), font(12)
    points = [[(v.scores["text"], v.scores["identity"]) for v in t.views] for t in pair]
    every = np.array([p for way in points for p in way])
    low = np.floor(np.minimum(every.min(0), [0.85, 0.15]) * 10) / 10
    high = np.maximum(np.ceil(every.max(0) * 10) / 10, [1.0, 0.6]) + 0.03
    left, right, top, bottom = 34, size[0] - 8, 24, size[1] - 38

    def place(point) -> tuple[float, float]:
        x, y = (np.asarray(point) - low) / (high - low)
        return left + x * (right - left), bottom - y * (bottom - top)

    pen.text((4, 2), "identity (up: more of the individual)", fill=INK, font=small)
    pen.text((left, bottom + 20), "text (to the right: more of the prompt)", fill=INK, font=small)
    for x in np.arange(low[0], high[0], 0.1):
        at = place((x, low[1]))[0]
        pen.line((at, top, at, bottom), fill=FAINT)
        pen.text((at - 8, bottom + 3), f"{x:.1f}", fill=INK, font=small)
    for y in np.arange(low[1], high[1], 0.2):
        at = place((low[0], y))[1]
        pen.line((left, at, right, at), fill=FAINT)
        pen.text((8, at - 8), f"{y:.1f}", fill=INK, font=small)
    pen.rectangle((left, top, right, bottom), outline=INK)
    for way in points:
        pen.line([place(p) for p in way], fill=FAINT, width=3)
    for number, way in enumerate(points):
        done = [place(p) for p in way[: k + 1]]
        if k:
            pen.line(done, fill=COLORS[number], width=3)
        mark(pen, done[-1], number)
    return np.asarray(picture)


def mark(pen: ImageDraw.ImageDraw, at: tuple[float, float], number: int) -> None:
    """Where a training is: a circle for the first, a square for the second."""
    x, y = at
    draw = pen.rectangle if number else pen.ellipse
    size = 5 + 3 * (1 - number)  # at the base model both lie on one spot, and both are seen
    draw((x - size, y - size, x + size, y + size), fill=COLORS[number], outline=INK)


def bars(pair: Sequence[View], size: tuple[int, int]) -> np.ndarray:
    """The scores of both moments as bars from 0 to 1."""
    picture = Image.new("RGB", size, PAPER)
    pen, small = ImageDraw.Draw(picture), font(13)
    left, right = 76, size[0] - 48
    for line, score in enumerate(SCORES):
        y = 10 + 78 * line
        pen.text((4, y + 17), score, fill=INK, font=small)
        for number, view in enumerate(pair):
            value, low = view.scores[score], y + 26 * number
            end = left + max(value, 0.0) * (right - left)
            pen.rectangle((left, low, right, low + 20), outline=FAINT)
            pen.rectangle((left, low, end, low + 20), fill=COLORS[number])
            pen.text((right + 8, low + 2), f"{value:.2f}", fill=INK, font=small)
    return np.asarray(picture)
