"""A training as a film: at each moment the picture, where [V] looks, what it takes, where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..pictures import overlay
from .figures import CATEGORY_COLOR, FAINT, INK, OKABE_ITO, V_COLOR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUIET = ("start", "end")  # tokens where a pixel looks when no word concerns it


@dataclass(frozen=True)
class Snapshot:
    """One moment of a training.

    Attributes:
        step: optimizer steps since its beginning; stage: what trains.
        image: uint8 (h, w, 3), of one prompt and seed. heat: (y, x), the map of [V] in it.
        shares: token -> share of all attention, as of :func:`adb_core.attention_shares`.
        at: place of [V]'s row in the 2-D projection of the vocabulary.
    """

    step: int
    stage: str
    image: np.ndarray
    heat: np.ndarray
    shares: Mapping[str, float]
    at: tuple[float, float]


def snapshot_figures(
    snapshots: Sequence[Snapshot],
    vocabulary: np.ndarray,
    words: Mapping[str, tuple[float, float]],
    v: str,
) -> list[Figure]:
    """One figure a moment, all with the same scales, for :func:`adb_core.teaching.show_film`.

    Args:
        vocabulary, words: as in :func:`.drift.embedding_drift`. v: the token that is [V].

    Raises:
        ValueError: no moments.
    """
    if not snapshots:
        raise ValueError("there are no moments to draw")
    top = max(float(s.heat.max()) for s in snapshots)
    most = max(share for s in snapshots for t, share in s.shares.items() if t not in QUIET)
    path = np.array([s.at for s in snapshots])  # (n, 2)
    around = np.concatenate([vocabulary, path, list(words.values())])
    low, high = around.min(0), around.max(0)
    margin = 0.06 * (high - low)
    box = np.stack([low - margin, high + margin])  # (2, 2)
    figures = []
    for number, snap in enumerate(snapshots):
        figure = new_figure(9.2, 2.5, _alt(snap, v))
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1.25, 1.25))
        _picture(axes[0], snap.image, f"{snap.stage}, step {snap.step}")
        _picture(axes[1], overlay(snap.image, snap.heat, top), f"map of {v}")
        _bars(axes[2], snap.shares, v, most)
        _place(axes[3], path[: number + 1], vocabulary, words, box)
        figures.append(figure)
    return figures


def _picture(ax: Axes, image: np.ndarray, title: str) -> None:
    style_axes(ax, title).imshow(image, interpolation="nearest")
    ax.set_axis_off()


def _bars(ax: Axes, shares: Mapping[str, float], v: str, most: float) -> None:
    """Every token's share; the two quiet ones run off the scale, and their number is written."""
    style_axes(ax, "share of the attention")
    ax.grid(False)
    for line, (token, share) in enumerate(shares.items()):
        color = V_COLOR if token == v else FAINT if token in QUIET else CATEGORY_COLOR
        length = min(share, 1.15 * most)
        ax.barh(line, length, color=color)
        if token in QUIET or token == v:
            text = f"{100 * share:.0f} %"
            ax.text(length + 0.03 * most, line, text, va="center", fontsize=6, color=INK)
    ax.set(xlim=(0, 1.5 * most), ylim=(len(shares) - 0.5, -0.5), xticks=[])
    ax.set_yticks(range(len(shares)), list(shares), fontsize=6, color=INK)


def _place(
    ax: Axes,
    path: np.ndarray,
    vocabulary: np.ndarray,
    words: Mapping[str, tuple[float, float]],
    box: np.ndarray,
) -> None:
    style_axes(ax, "row of [V] among the words")
    ax.scatter(*vocabulary.T, s=3, color=FAINT)
    ax.plot(*path.T, color=V_COLOR, linewidth=1)
    ax.scatter(*path[-1], marker="*", s=60, color=V_COLOR, zorder=3)
    for word, (x, y) in words.items():
        ax.scatter([x], [y], s=8, color=OKABE_ITO["blue"], zorder=2)
        ax.annotate(word, (x, y), xytext=(2, 2), textcoords="offset points", color=INK, fontsize=6)
    ax.set(xlim=box[:, 0], ylim=box[:, 1], xticks=[], yticks=[])


def _alt(snap: Snapshot, v: str) -> str:
    said = ", ".join(f"{t} {100 * s:.0f} %" for t, s in snap.shares.items() if s >= 0.03)
    return f"{snap.stage}, step {snap.step}: picture, map of {v}, and shares of attention: {said}."
