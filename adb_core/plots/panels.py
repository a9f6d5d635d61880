"""A few numbers side by side: bars of one number each, dots of many with their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .figures import CATEGORY_COLOR, INK, OKABE_ITO, V_COLOR, new_figure, style_axes, wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = (V_COLOR, CATEGORY_COLOR, OKABE_ITO["green"], OKABE_ITO["purple"])  # of the panels
HALF = 0.3  # half the width of a mean's bar, in places of the axis


def bar_panels(panels: Mapping[str, Mapping[str, float]], *, share: bool = False) -> Figure:
    """Lying bars, each with its number written behind it: one panel a quantity.

    Args:
        panels: quantity -> label -> value; the first panel names the labels of all.
        share: all panels have one scale.

    Raises:
        ValueError: no bar, or panels with different labels.
    """
    labels = _labels(panels)
    said = [
        f"{title}: " + ", ".join(f"{label} {value:.2f}" for label, value in bars.items())
        for title, bars in panels.items()
    ]
    figure = new_figure(
        3.2 * len(panels) + 1, 0.9 + 0.34 * len(labels), f"Bars. {'; '.join(said)}."
    )
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True, sharex=share)[0]
    for ax, color, (title, bars) in zip(axes, COLORS, panels.items(), strict=False):
        style_axes(ax, title)
        values = list(bars.values())
        ax.barh(range(len(labels)), values, 0.6, color=color, edgecolor=INK)
        for line, value in enumerate(values):
            ax.annotate(
                f"{value:.2f}",
                (max(value, 0), line),
                xytext=(3, 0),
                textcoords="offset points",
                color=INK,
                fontsize=7,
                va="center",
            )
        ax.margins(x=0.18)
    axes[0].set_yticks(range(len(labels)), labels, color=INK)
    axes[0].invert_yaxis()
    return figure


def dot_panels(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Every value a dot, their mean a bar: one panel a quantity, one column a label.

    Args:
        panels: quantity -> label -> values; the first panel names the labels of all.

    Raises:
        ValueError: no value, or panels with different labels.
    """
    labels = _labels(panels)
    said = [
        f"{title}: " + ", ".join(f"{label} {np.mean(dots):.2f}" for label, dots in columns.items())
        for title, columns in panels.items()
    ]
    figure = new_figure(
        3.2 * len(panels), 2.8, f"Dots, and their means as bars. Means of {'; '.join(said)}."
    )
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, color, (title, columns) in zip(axes, COLORS, panels.items(), strict=False):
        style_axes(ax, title)
        for place, dots in enumerate(columns.values()):
            at = place + np.linspace(-0.2, 0.2, len(dots))
            ax.scatter(at, dots, s=14, color=color, alpha=0.6)
            ax.plot([place - HALF, place + HALF], [np.mean(dots)] * 2, color=INK, linewidth=2)
        ax.set_xticks(range(len(labels)), [wrap(label, 12) for label in labels], color=INK)
    return figure


def _labels(panels: Mapping[str, Mapping]) -> list[str]:
    """The labels that all panels have in common.

    Raises:
        ValueError: there are none, or they differ, or more panels than colors.
    """
    labels = [list(columns) for columns in panels.values()]
    if not labels or not labels[0]:
        raise ValueError("there are no numbers to draw")
    if any(other != labels[0] for other in labels):
        raise ValueError(f"all panels need the same labels, got {labels}")
    if len(panels) > len(COLORS):
        raise ValueError(f"at most {len(COLORS)} panels fit side by side, got {len(panels)}")
    return labels[0]
