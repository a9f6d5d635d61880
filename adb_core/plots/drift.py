"""Where [V] went among the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .figures import (
    CATEGORY_COLOR,
    FAINT,
    INK,
    OKABE_ITO,
    PAPER,
    V_COLOR,
    legend,
    new_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..drift import Drift


@dataclass(frozen=True)
class DriftPoint:
    """Where [V] was at one moment.

    Attributes:
        step: optimizer steps since the beginning of the run; stage: name of the stage that ran.
        at: its place in the 2-D projection of the vocabulary.
    """

    step: int
    stage: str
    drift: Drift
    at: tuple[float, float]


def embedding_drift(
    points: Sequence[DriftPoint],
    vocabulary: np.ndarray,
    words: Mapping[str, tuple[float, float]],
    category: str,
) -> Figure:
    """How [V] moved among the words: distance, cosines, and the way it took.

    Args:
        points: in the order of their steps.
        vocabulary: (n, 2) projected rows of the whole vocabulary, drawn as faint dots.
        words: word -> its place in the projection, to be named: the nearest ones and the category.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("there are no drift records to draw")
    figure = new_figure(9.6, 3.3, drift_alt(points))
    left, middle, right = figure.subplots(1, 3)
    _draw_lengths(style_axes(left, "distance from its start", "step", "Euclidean length"), points)
    _draw_cosines(style_axes(middle, "cosine", "step", ""), points, category)
    for ax in (left, middle):
        _mark_stages(ax, points)
        legend(ax)
    _draw_path(style_axes(right, "among the words (2-D projection)"), points, vocabulary, words)
    return figure


def _draw_lengths(ax: Axes, points: Sequence[DriftPoint]) -> None:
    steps, black = [p.step for p in points], OKABE_ITO["black"]
    ax.plot(steps, [p.drift.distance for p in points], color=V_COLOR, label="distance")
    lengths = [p.drift.norm for p in points]
    ax.plot(steps, lengths, color=OKABE_ITO["sky"], linestyle="--", label="length of [V]")
    word = points[-1].drift.vocabulary_norm
    ax.axhline(word, color=black, linewidth=0.8, linestyle=":", label="mean word's length")


def _draw_cosines(ax: Axes, points: Sequence[DriftPoint], category: str) -> None:
    steps = [p.step for p in points]
    ax.plot(steps, [p.drift.cosine_to_start for p in points], color=V_COLOR, label="to its start")
    cosines = [p.drift.cosine_to_category for p in points]
    ax.plot(steps, cosines, color=CATEGORY_COLOR, linestyle="--", label=f"to '{category}'")


def _mark_stages(ax: Axes, points: Sequence[DriftPoint]) -> None:
    """A thin line wherever a stage begins."""
    for before, now in pairwise(points):
        if before.stage != now.stage and before.stage:
            ax.axvline(before.step, color=FAINT, linewidth=1)


def _draw_path(
    ax: Axes,
    points: Sequence[DriftPoint],
    vocabulary: np.ndarray,
    words: Mapping[str, tuple[float, float]],
) -> None:
    path = np.array([p.at for p in points])  # (n, 2)
    ax.scatter(*vocabulary.T, s=4, color=FAINT, label="vocabulary")
    ax.plot(*path.T, color=V_COLOR, linewidth=1.2)
    ax.scatter(
        *path[0], marker="o", s=36, facecolor=PAPER, edgecolor=V_COLOR, zorder=3, label="[V], start"
    )
    ax.scatter(*path[-1], marker="*", s=80, color=V_COLOR, zorder=3, label="[V], end")
    for word, (x, y) in words.items():
        ax.scatter([x], [y], s=14, color=CATEGORY_COLOR, zorder=2)
        ax.annotate(word, (x, y), xytext=(3, 3), textcoords="offset points", color=INK, fontsize=7)
    legend(ax)


def drift_alt(points: Sequence[DriftPoint]) -> str:
    """The drift in words and numbers."""
    last = points[-1].drift
    near = ", ".join(f"{word} ({cosine:.2f})" for word, cosine in last.nearest)
    return (
        f"Drift of [V] over {points[-1].step} steps: it ends {last.distance:.3f} away from its "
        f"start, cosine {last.cosine_to_start:.3f} to its start and {last.cosine_to_category:.3f} "
        f"to the category; length {last.norm:.3f}, the mean word's is {last.vocabulary_norm:.3f}. "
        f"Nearest words: {near}."
    )
