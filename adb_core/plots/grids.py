"""Pictures in rows and columns, with and without the maps of words over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.pointing import where
from .figures import INK, PAPER, new_figure, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def image_grid(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    alt: str = "",
    size: float = 1.35,
    height: float | None = None,
) -> Figure:
    """Pictures in rows, with a label at the left of each row and above each column.

    Args:
        rows: lists of uint8 (h, w, 3) pictures; None leaves a place empty; rows may differ in
            length.
        size: inches a picture; height: if that is not its width.

    Raises:
        ValueError: no picture at all, or more labels than rows or columns.
    """
    width = max((len(r) for r in rows), default=0)
    if not width:
        raise ValueError("there are no pictures to show")
    if len(row_labels) > len(rows) or len(column_labels) > width:
        raise ValueError(
            f"{len(row_labels)} row and {len(column_labels)} column labels "
            f"for {len(rows)} x {width} pictures"
        )
    figure = new_figure(
        size * width + 1.1 * bool(row_labels),
        (height or size) * len(rows) + 0.6 * bool(column_labels),
        alt or _grid_alt(row_labels, column_labels),
    )
    axes = figure.subplots(len(rows), width, squeeze=False)
    for r, row in enumerate(rows):
        for c in range(width):
            _show(axes[r][c], row[c] if c < len(row) else None)
    _label(axes, row_labels, column_labels)
    return figure


def image_rows(
    rows: Mapping[str, Sequence[np.ndarray | None]],
    column_labels: Sequence[str] = (),
    alt: str = "",
    **size: float,
) -> Figure:
    """:func:`image_grid` of rows that have names: label -> pictures, uint8 (h, w, 3)."""
    grid = [list(pictures) for pictures in rows.values()]
    labels = {"row_labels": list(rows), "column_labels": column_labels}
    return image_grid(grid, **labels, alt=alt, **size)


def _grid_alt(row_labels: Sequence[str], column_labels: Sequence[str]) -> str:
    rows, columns = ("; ".join(labels) or "unlabelled" for labels in (row_labels, column_labels))
    return f"A grid of pictures. Rows: {rows}. Columns: {columns}."


def _show(
    ax: Axes, image: np.ndarray | None, heat: np.ndarray | None = None, top: float | None = None
) -> None:
    """A picture without axes; with ``heat`` (y, x) it turns grey, and the map lies over it.

    The brightest color is ``top``, or the map's own largest value.
    """
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


def _label(axes: np.ndarray, row_labels: Sequence[str], column_labels: Sequence[str]) -> None:
    """Labels for the first rows and columns; the others stay without one."""
    for ax, text in zip(axes[:, 0], row_labels, strict=False):
        ax.set_ylabel(wrap(text, 18), color=INK, fontsize=8, rotation=0, ha="right", va="center")
    for ax, text in zip(axes[0], column_labels, strict=False):
        ax.set_title(wrap(text, 21), color=INK, fontsize=7)


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
        images: rows of uint8 (h, w, 3) pictures; maps: rows of float (y, x) maps of any size.
        top: the probability of the brightest color; None gives every map its own scale, from 0 to
            its largest.

    Raises:
        ValueError: the two differ in shape, or are empty.
    """
    shape = [len(r) for r in images]
    if not shape or not max(shape) or shape != [len(r) for r in maps]:
        raise ValueError(
            f"every picture needs one map: got rows of {shape} pictures "
            f"and {[len(r) for r in maps]} maps"
        )
    figure = new_figure(
        size * max(shape) + 1.1 * bool(row_labels),
        (size + 0.15) * len(shape) + 0.6,
        alt or "Attention maps over grey pictures. " + _grid_alt(row_labels, column_labels),
    )
    axes = figure.subplots(len(shape), max(shape), squeeze=False)
    for row, pictures, heats in zip(axes, images, maps, strict=True):
        for ax in row[len(pictures) :]:
            _show(ax, None)
        for ax, image, heat in zip(row, pictures, heats, strict=False):
            _show(ax, image, heat, top)
            ax.set_xlabel(f"max {heat.max():.2f}", color=INK, fontsize=6)
    _label(axes, row_labels, column_labels)
    return figure


def word_maps(image: np.ndarray, maps: Mapping[str, np.ndarray], prompt: str) -> Figure:
    """A picture (h, w, 3) and beside it where each word of its prompt looked, word -> (y, x)."""
    columns = min(6, len(maps) + 1)
    lines = -(-(len(maps) + 1) // columns)
    places = ", ".join(f"{word} most at the {where(heat)}" for word, heat in maps.items())
    figure = new_figure(
        1.5 * columns,
        1.75 * lines + 0.4,
        f"A picture of '{prompt}' and the attention map of each word: {places}.",
    )
    figure.suptitle(wrap(prompt, 16 * columns), color=INK, fontsize=9)
    first, *others = figure.subplots(lines, columns, squeeze=False).flatten()
    _show(first, image)
    first.set_title("picture", color=INK, fontsize=8)
    for ax, (word, heat) in zip(others, maps.items(), strict=False):
        _show(ax, image, heat)
        ax.set_title(f"{word}\nmax {heat.max():.2f}", color=INK, fontsize=8)
    for ax in others[len(maps) :]:
        _show(ax, None)
    return figure
