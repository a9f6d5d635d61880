"""Move a box, and the subject goes there; mix it with another word; keep what is liked.

A box is moved by sliders: they are what ipywidgets 7.7 and 8 both have, they work by keyboard and
on a telephone, and a cell can set them and print what came of it. An image that is dragged on
would need a widget of its own, which hosted notebooks load from elsewhere.
"""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from ..base import Drawable
from ..beyond.boxes import Box, outlined
from ..beyond.keeping import Kept
from ..beyond.layout import FEW_STEPS, GENTLE, Push, place_states, word_column
from ..beyond.masks import box_scores, map_mask, picture_maps
from ..beyond.mixing import mixed_states
from ..beyond.states import draw_states, noise, text_states, token_ids
from ..pictures import SIDE, enlarge, side_by_side
from ..sampling import PLAIN
from .panel import Panel, guarded, picture_box, put, quick_png, wide

STEP = 1 / 16  # of a side, per key press: a cell of the tiny model's maps
SMALLEST = 0.25  # side of a box


class Canvas(Panel):
    """The picture of a seed as it is, and beside it with the subject inside the box.

    Args:
        model: a personalized result (the prompt carries ``{}``), or a base model.
        word: what goes into the box; None is the learned subject. A base model needs one.
        other: a word that the first of these words can be mixed with; see ``beyond/mixing.py``.
        push: how the subject is pulled. folder: where "Export" writes to.
        sampling: fields of :class:`adb_core.Sampling`; 8 steps unless it says otherwise.

    Raises:
        PromptError: a word that the prompt does not contain. TokenError: words that cannot mix.
    """

    def __init__(
        self,
        model: Drawable,
        prompt: str = "a photo of a {} on the beach",
        word: str | None = None,
        other: str | None = None,
        push: Push = GENTLE,
        folder: str | Path = "liked",
        **sampling: Any,
    ):
        self.model, self.prompt, self.word, self.other = model, prompt, word, other
        self.push, self.kept = push, Kept()
        self.sampling = replace(PLAIN, **{"steps": FEW_STEPS, **sampling}).of(model)
        self.words, self.columns = word_column(model, prompt, word)
        self._plain: dict[tuple[int, float], tuple[np.ndarray, np.ndarray]] = {}
        self._make_controls(str(folder))
        if other is not None:
            self._states(0.5)  # says now whether they can be mixed
        sliders = [self.across, self.down, self.width, self.height, self.seed]
        self.mix.layout.display = "none" if other is None else None
        super().__init__([*sliders, self.mix], f"Canvas: {' '.join(self.words)}")
        self.strip = picture_box()
        row = ipywidgets.HBox([self.keep, self.export, self.folder])
        self.status = ipywidgets.HTML(value="")
        self.view.children = (*self.view.children, row, self.status, self.strip)
        self.keep.on_click(lambda _: guarded(self.keep_it, self._report))
        self.export.on_click(lambda _: guarded(self.export_all, self._report))
        self.watch(self.draw, *sliders, self.mix)

    def _make_controls(self, folder: str) -> None:
        """Sliders that draw when they are let go, or at each key; buttons."""

        def slider(name: str, value: float, low: float = 0.0, step: float = STEP) -> Any:
            return wide(
                "FloatSlider",
                name,
                min=low,
                max=1.0,
                step=step,
                value=value,
                readout_format=".2f",
                continuous_update=False,
            )

        self.across, self.down = slider("box: across", 0.25), slider("box: down", 0.625)
        self.width = slider("box: width", 0.5, SMALLEST)
        self.height = slider("box: height", 0.625, SMALLEST)
        self.seed = wide("IntSlider", "seed", min=0, max=99, value=0, continuous_update=False)
        self.mix = slider(f"share of {self.other}", 0.0, step=0.1)
        self.keep = ipywidgets.Button(description="Keep")
        self.export = ipywidgets.Button(description="Export", disabled=True)
        self.folder = ipywidgets.Text(value=folder, description="into")

    @property
    def box(self) -> Box:
        """What the sliders say; it is moved into the picture where it would reach out of it."""
        return Box.around(*(s.value for s in (self.across, self.down, self.width, self.height)))

    # ---- drawing

    def _states(self, share: float) -> Any:
        if self.other is None or not share:
            return text_states(self.model, self.prompt)
        return mixed_states(self.model, self.prompt, self.other, share, self._mixed_word())

    def _mixed_word(self) -> str | None:
        """Whose row is mixed: the learned word, or of a base model the word in the box."""
        return None if self.model.words and self.word is None else self.words[-1]

    def _map(self, image: np.ndarray) -> np.ndarray:
        return picture_maps(self.model, self.prompt, image[None], self.word)[0]

    def _without(self, states: Any, key: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
        """The picture of a seed without a box, and its map; drawn once."""
        if key not in self._plain:
            start = noise(self.model, key[0])
            (image,) = draw_states(self.model, states, start, self.sampling, seeds=[key[0]])
            self._plain[key] = image, self._map(image)
        return self._plain[key]

    def draw(self) -> None:
        """Draw what the sliders say."""
        box, seed, share = self.box, self.seed.value, round(self.mix.value, 2)
        states = self._states(share)
        before, old = self._without(states, (seed, share))
        options = {f: getattr(self.sampling, f) for f in ("steps", "guidance", "scheduler")}
        drawn, _ = place_states(self.model, states, self.columns, box, [seed], self.push, **options)
        self.image = drawn[0]
        self.how = {
            "prompt": token_ids(self.model, self.prompt)[0],
            "seed": seed,
            "steps": self.sampling.steps,
            "guidance": self.sampling.guidance,
            "box": box,
            "words": list(self.words),
            "push": self.push,
            "mix": {"with": self.other, "share": share} if share else None,
        }
        pair = (enlarge(before), outlined(enlarge(self.image), box))
        self.paint(side_by_side(*pair))  # it is on its way while its map is read
        inside = [box_scores(m[None], box).mass[0] for m in (old, self._map(self.image))]
        mixture = f", {share:.0%} {self.other}" if share else ""
        self.say(
            f"seed {seed}{mixture}: {inside[1]:.0%} of the map of '{' '.join(self.words)}' lies "
            f"in the box, {inside[0]:.0%} without it (a map without aim: {box.area:.0%}); "
            f"elsewhere pixels differ by {self._elsewhere(before, old, box):.1%}"
        )

    def _elsewhere(self, before: np.ndarray, old: np.ndarray, box: Box) -> float:
        """Mean difference of the pixels that are neither in the box nor where the subject was."""
        side = before.shape[0]
        outside = (box.cover((side, side)) == 0) & ~map_mask(old, side)
        if not outside.any():
            return 0.0
        change = np.abs(before.astype(float) - self.image.astype(float)).mean(-1) / 255
        return float(change[outside].mean())

    # ---- what is liked

    def keep_it(self) -> None:
        """Put the picture on the strip; what Keep does."""
        new = self.kept.add(self.image, self.how)
        put(self.strip, quick_png(self.kept.strip(SIDE // 2)))
        self.export.disabled = False
        self._report(f"{len(self.kept)} kept" if new else "this picture is kept already")

    def export_all(self) -> None:
        """Write the strip's pictures with their provenance; what Export does."""
        folder = self.kept.export(self.folder.value, self.model)
        self._report(f"{len(self.kept)} pictures and provenance.json are in {folder}")

    def _report(self, text: str) -> None:
        self.status.value = html.escape(text)
