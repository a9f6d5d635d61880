"""Every map of a recorded picture: word x layer x sampling step x head."""

from __future__ import annotations

import html
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from ..metrics.pointing import where
from ..pictures import enlarge, overlay, side_by_side
from .panel import Panel, wide

if TYPE_CHECKING:
    from ..recording import Recording


class AttentionExplorer(Panel):
    """Who looks at which word, while a picture is drawn.

    Example::

        explorer = AttentionExplorer(adb.record(base, "a photo of a red cat wearing a hat"))
        explorer.word.value = "hat"
        print(explorer.text)
    """

    def __init__(self, recording: Recording):
        self.recording = recording
        names = [(_layer_name(name, maps), name) for name, maps in recording.layers.items()]
        layers = [("all layers, mean", ""), *names]
        heads = min(maps.shape[1] for maps in recording.layers.values())
        words = list(recording.words)
        self.word = wide("Dropdown", "word", options=words, value=words[-1])
        self.layer = wide("Dropdown", "layer", options=layers, value="")
        self.step = wide("IntSlider", "step (0 = mean)", min=0, max=recording.steps, value=0)
        self.head = wide("IntSlider", "head (0 = mean)", min=0, max=heads, value=0)
        controls = [self.word, self.layer, self.step, self.head]
        super().__init__(controls, f"Who looks at which word? {recording.prompt}")
        self.ruler = ipywidgets.HTML(token_ruler(recording.pieces, recording.shares))
        self.view.children = (*self.view.children, self.ruler)
        self._plain = enlarge(recording.image)
        self.watch(self._refresh, *controls)

    def _refresh(self) -> None:
        self.heat = heat = self.recording.map(
            self.word.value,
            layer=self.layer.value or None,
            step=self.step.value - 1 if self.step.value else None,
            head=self.head.value - 1 if self.head.value else None,
        )
        self.paint(side_by_side(self._plain, overlay(self.recording.image, heat)))
        self.say(
            f"'{self.word.value}': largest probability {heat.max():.2f} at the {where(heat)}, "
            f"mean {heat.mean():.3f}"
        )


def token_ruler(pieces: Mapping[str, tuple[str, ...]], shares: Mapping[str, float]) -> str:
    """HTML: how the prompt was split into tokens, and each one's share of all attention.

    Pieces of one word stand in one box, with a dot between them; the darker, the larger the share.
    """
    boxes = []
    for name, parts in pieces.items():
        share = shares.get(name, 0.0)
        shade = f"rgba(0, 114, 178, {min(0.6, 1.5 * share):.2f})"  # Okabe and Ito's blue
        word = " · ".join(html.escape(part) for part in parts)
        boxes.append(
            f'<span style="display:inline-block;margin:1px;padding:2px 5px;border:1px solid #222;'
            f'border-radius:4px;text-align:center;color:#222;background:#fff">'
            f'<span style="display:block;background:{shade};border-radius:2px">{word}</span>'
            f"<small>{100 * share:.1f} %</small></span>"
        )
    return "<b>tokens, and their share of all attention</b><br>" + "".join(boxes) if boxes else ""


def _layer_name(name: str, maps: np.ndarray) -> str:
    """A short name of a layer: its block and its map's size."""
    parts = name.split(".")
    block = {"down_blocks": "down", "up_blocks": "up", "mid_block": "middle"}[parts[0]]
    number = f" {parts[1]}" if parts[1].isdigit() else ""
    which = next((p for before, p in pairwise(parts) if before == "attentions"), "0")
    return f"{block}{number}.{which}, {maps.shape[2]} x {maps.shape[3]}"
