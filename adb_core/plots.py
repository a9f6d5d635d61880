"""Figures: pure functions from data to a ``matplotlib.figure.Figure``, without pyplot's hidden state.

Every colour is explicit, so a figure reads the same on a light and on a dark page, and every
figure carries a text that says what it shows (:func:`alt_text`). Hues are those of Okabe and Ito,
which people with any of the common colour blindnesses can tell apart.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .system.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .drift import Drift
    from .records import StepRecord

# Okabe and Ito, "Color Universal Design" (2008)
OKABE_ITO = {
    "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73", "yellow": "#F0E442",
    "blue": "#0072B2", "vermillion": "#D55E00", "purple": "#CC79A7", "black": "#000000",
}  # fmt: skip
PAPER, INK, FAINT = "#FFFFFF", "#222222", "#D0D0D0"
V_COLOR, CATEGORY_COLOR = OKABE_ITO["vermillion"], OKABE_ITO["blue"]


# ---------------------------------------------------------------- figures in general


def new_figure(width: float, height: float, alt: str) -> Figure:
    """An empty figure of ``width`` x ``height`` inches that carries its description."""
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(width, height), dpi=110, layout="constrained", facecolor=PAPER, edgecolor=PAPER
    )
    figure.set_label(alt)
    return figure


def alt_text(figure: Figure) -> str:
    """What a figure shows, in words."""
    return figure.get_label()


def set_alt_text(figure: Figure, text: str) -> Figure:
    """Replace a figure's description; returns the figure."""
    figure.set_label(text)
    return figure


def to_png(figure: Figure, path: str | Path | None = None) -> bytes:
    """The figure as PNG bytes, with its description inside; written to ``path`` if given.

    Raises:
        DiskFull: no space left; an earlier file is untouched.
    """
    stream = io.BytesIO()
    figure.savefig(
        stream, format="png", facecolor=PAPER, metadata={"Description": alt_text(figure)}
    )
    if path is not None:
        atomic_write_bytes(path, stream.getvalue())
    return stream.getvalue()


def style_axes(ax: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> Axes:
    """Explicit colours everywhere, so that no style sheet of the reader's can hide a line or a letter."""
    ax.set_facecolor(PAPER)
    ax.set_title(title, color=INK, fontsize=9)
    ax.set_xlabel(xlabel, color=INK, fontsize=8)
    ax.set_ylabel(ylabel, color=INK, fontsize=8)
    ax.tick_params(colors=INK, labelsize=7)
    ax.grid(True, color=FAINT, linewidth=0.5, alpha=0.6)
    for spine in ax.spines.values():
        spine.set_color(INK)
    return ax


def legend(ax: Axes) -> None:
    ax.legend(fontsize=7, facecolor=PAPER, edgecolor=FAINT, labelcolor=INK)


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))


# ---------------------------------------------------------------- pictures


def image_grid(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    alt: str = "",
    size: float = 1.35,
) -> Figure:
    """Pictures in rows, with a label at the left of each row and above each column.

    Args:
        rows: lists of uint8 (h, w, 3) pictures; None leaves a place empty; rows may differ in length.
        size: inches a picture.

    Raises:
        ValueError: no picture at all, or more labels than rows or columns.
    """
    width = max((len(r) for r in rows), default=0)
    if not width:
        raise ValueError("there are no pictures to show")
    if len(row_labels) > len(rows) or len(column_labels) > width:
        raise ValueError(
            f"{len(row_labels)} row and {len(column_labels)} column labels for {len(rows)} x {width} pictures"
        )
    figure = new_figure(
        size * width + 1.1 * bool(row_labels),
        size * len(rows) + 0.6 * bool(column_labels),
        alt or _grid_alt(row_labels, column_labels),
    )
    axes = figure.subplots(len(rows), width, squeeze=False)
    for r, row in enumerate(rows):
        for c in range(width):
            _show(axes[r][c], row[c] if c < len(row) else None)
    _label(axes, row_labels, column_labels)
    return figure


def _grid_alt(row_labels: Sequence[str], column_labels: Sequence[str]) -> str:
    return f"A grid of pictures. Rows: {'; '.join(row_labels) or 'unlabelled'}. Columns: {'; '.join(column_labels) or 'unlabelled'}."


def _show(
    ax: Axes, image: np.ndarray | None, heat: np.ndarray | None = None, top: float | None = None
) -> None:
    """A picture without axes; with ``heat`` (y, x) it turns grey and the map lies over it, from 0 to ``top``."""
    ax.set(xticks=[], yticks=[], facecolor=PAPER)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if image is None:
        return
    if heat is None:
        ax.imshow(image, interpolation="nearest")
        return
    h, w = image.shape[:2]
    ax.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=255)
    ax.imshow(
        heat,
        cmap="magma",
        vmin=0,
        vmax=max(float(heat.max()) if top is None else top, 1e-12),
        alpha=0.65,
        extent=(-0.5, w - 0.5, h - 0.5, -0.5),
        interpolation="bilinear",
    )


def _label(axes, row_labels: Sequence[str], column_labels: Sequence[str]) -> None:
    for ax, text in zip(axes[:, 0], row_labels):
        ax.set_ylabel(_wrap(text, 18), color=INK, fontsize=8, rotation=0, ha="right", va="center")
    for ax, text in zip(axes[0], column_labels):
        ax.set_title(_wrap(text, 21), color=INK, fontsize=7)


def attention_grid(
    images: Sequence[Sequence[np.ndarray]],
    maps: Sequence[Sequence[np.ndarray]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    alt: str = "",
    size: float = 1.35,
    top: float | None = None,
) -> Figure:
    """Maps laid over their pictures: bright where the word is looked at from, grey elsewhere.

    A map's largest probability stands below it.

    Args:
        top: the probability of the brightest colour; None gives every map its own scale, from 0 to its largest.
        images: rows of uint8 (h, w, 3) pictures; maps: rows of float (y, x) maps of any size.

    Raises:
        ValueError: the two differ in shape, or are empty.
    """
    shape = [len(r) for r in images]
    if not shape or not max(shape) or shape != [len(r) for r in maps]:
        raise ValueError(
            f"every picture needs one map: got rows of {shape} pictures and {[len(r) for r in maps]} maps"
        )
    figure = new_figure(
        size * max(shape) + 1.1 * bool(row_labels),
        (size + 0.15) * len(shape) + 0.6,
        alt or "Attention maps over grey pictures. " + _grid_alt(row_labels, column_labels),
    )
    axes = figure.subplots(len(shape), max(shape), squeeze=False)
    for row, pictures, heats in zip(axes, images, maps):
        for ax in row[len(pictures) :]:
            _show(ax, None)
        for ax, image, heat in zip(row, pictures, heats):
            _show(ax, image, heat, top)
            ax.set_xlabel(f"max {heat.max():.2f}", color=INK, fontsize=6)
    _label(axes, row_labels, column_labels)
    return figure


def word_maps(image: np.ndarray, maps: Mapping[str, np.ndarray], prompt: str) -> Figure:
    """A picture (h, w, 3) and beside it where each word of its prompt looked, word -> (y, x)."""
    words = list(maps)
    columns = min(6, len(words) + 1)
    lines = -(-(len(words) + 1) // columns)
    places = ", ".join(f"{w} most at {_place(m)}" for w, m in maps.items())
    figure = new_figure(
        1.5 * columns,
        1.75 * lines + 0.4,
        f"A picture of '{prompt}' and the attention map of each word: {places}.",
    )
    figure.suptitle(_wrap(prompt, 16 * columns), color=INK, fontsize=9)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    _show(axes[0], image)
    axes[0].set_title("picture", color=INK, fontsize=8)
    for ax, word in zip(axes[1:], words):
        _show(ax, image, maps[word])
        ax.set_title(f"{word}\nmax {maps[word].max():.2f}", color=INK, fontsize=8)
    for ax in axes[len(words) + 1 :]:
        _show(ax, None)
    return figure


def _place(heat: np.ndarray) -> str:
    """Where in the picture a map (y, x) has its maximum, in words."""
    y, x = np.unravel_index(int(np.argmax(heat)), heat.shape)
    vertical = ("the top", "the middle", "the bottom")[3 * int(y) // heat.shape[0]]
    return f"{vertical} {('left', 'centre', 'right')[3 * int(x) // heat.shape[1]]}"


# ---------------------------------------------------------------- training


def _smooth(values: Sequence[float], width: int) -> np.ndarray:
    """Running mean over the last ``width`` values (fewer at the beginning), same length."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _by_stage(history: Sequence[StepRecord]) -> dict[str, list[StepRecord]]:
    stages: dict[str, list[StepRecord]] = {}
    for record in history:
        stages.setdefault(record.stage, []).append(record)
    return stages


def training_curves(history: Sequence[StepRecord]) -> Figure:
    """Loss and attention statistics of every stage: three rows, one column a stage.

    The statistics are averaged over the layers; those of [V] (solid) are drawn beside the
    category's (dashed), which the regularizer pulls them towards.

    Raises:
        ValueError: no records.
    """
    stages = _by_stage(history)
    if not stages:
        raise ValueError("there are no training records to draw")
    figure = new_figure(2.9 * len(stages) + 0.5, 6.0, curves_alt(history))
    axes = figure.subplots(3, len(stages), squeeze=False, sharey="row")
    for column, (name, records) in enumerate(stages.items()):
        first = column == 0
        _draw_loss(
            style_axes(axes[0][column], f"stage {column + 1}: {name}", "", "loss" if first else ""),
            records,
        )
        for row, what in ((1, "mean"), (2, "var")):
            label = f"attention {'mean' if what == 'mean' else 'variance'}" if first else ""
            _draw_statistic(
                style_axes(axes[row][column], "", "step" if row == 2 else "", label), records, what
            )
    for row in axes:
        legend(row[0])
    return figure


def _draw_loss(ax: Axes, records: Sequence[StepRecord]) -> None:
    steps, width = [r.step for r in records], max(1, len(records) // 10)
    ax.plot(steps, [r.loss for r in records], color=FAINT, linewidth=0.8, label="loss of each step")
    ax.plot(
        steps,
        _smooth([r.loss for r in records], width),
        color=OKABE_ITO["black"],
        label="loss, running mean",
    )
    ax.plot(
        steps,
        _smooth([r.diffusion for r in records], width),
        color=OKABE_ITO["orange"],
        linestyle="--",
        label="diffusion part",
    )


def _draw_statistic(ax: Axes, records: Sequence[StepRecord], what: str) -> None:
    for who, color, style, label in (
        ("v", V_COLOR, "-", "[V]"),
        ("category", CATEGORY_COLOR, "--", "category"),
    ):
        seen = [
            (r.step, float(np.mean(values)))
            for r in records
            if (values := getattr(r, f"{who}_{what}"))
        ]
        if seen:
            steps, means = zip(*seen)
            ax.plot(
                steps,
                _smooth(means, max(1, len(seen) // 10)),
                color=color,
                linestyle=style,
                label=label,
            )
    if not ax.lines:
        ax.plot([], [], color=FAINT, label="not recorded")


def curves_alt(history: Sequence[StepRecord]) -> str:
    """The curves in words: where each stage's loss and map statistics begin and end."""
    parts = []
    for name, records in _by_stage(history).items():
        n = max(1, len(records) // 10)
        first, last = (
            float(np.mean([r.loss for r in part])) for part in (records[:n], records[-n:])
        )
        text = f"{name}: {len(records)} steps, loss from {first:.3f} to {last:.3f}"
        v, cat = (
            [float(np.mean(x)) for r in records[-n:] if (x := getattr(r, f"{who}_mean"))]
            for who in ("v", "category")
        )
        if v and cat:
            text += f", attention mean at the end {np.mean(v):.3f} for [V] and {np.mean(cat):.3f} for the category"
        parts.append(text)
    return (
        "Curves of the loss and of the mean and variance of attention maps. "
        + "; ".join(parts)
        + "."
    )


# ---------------------------------------------------------------- drift


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
    steps = [p.step for p in points]
    style_axes(left, "distance from its start", "step", "Euclidean length")
    left.plot(steps, [p.drift.distance for p in points], color=V_COLOR, label="distance")
    left.plot(
        steps,
        [p.drift.norm for p in points],
        color=OKABE_ITO["sky"],
        linestyle="--",
        label="length of [V]",
    )
    left.axhline(
        points[-1].drift.vocabulary_norm,
        color=OKABE_ITO["black"],
        linewidth=0.8,
        linestyle=":",
        label="mean word's length",
    )
    style_axes(middle, "cosine", "step", "")
    middle.plot(
        steps, [p.drift.cosine_to_start for p in points], color=V_COLOR, label="to its start"
    )
    middle.plot(
        steps,
        [p.drift.cosine_to_category for p in points],
        color=CATEGORY_COLOR,
        linestyle="--",
        label=f"to '{category}'",
    )
    for ax in (left, middle):
        _mark_stages(ax, points)
        legend(ax)
    _draw_path(style_axes(right, "among the words (2-D projection)"), points, vocabulary, words)
    return figure


def _mark_stages(ax: Axes, points: Sequence[DriftPoint]) -> None:
    """A thin line wherever a stage begins."""
    for before, now in zip(points, points[1:]):
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
        f"Drift of [V] over {points[-1].step} steps: it ends {last.distance:.3f} away from its start, cosine {last.cosine_to_start:.3f} "
        f"to its start and {last.cosine_to_category:.3f} to the category; length {last.norm:.3f}, the mean word's is "
        f"{last.vocabulary_norm:.3f}. Nearest words: {near}."
    )
