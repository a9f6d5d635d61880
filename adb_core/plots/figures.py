"""What all figures share: paper and ink, axes, the description that a figure carries."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..provenance.record import Provenance, stamped
from ..system.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008)
OKABE_ITO = {
    "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73", "yellow": "#F0E442",
    "blue": "#0072B2", "vermillion": "#D55E00", "purple": "#CC79A7", "black": "#000000",
}  # fmt: skip
PAPER, INK, FAINT = "#FFFFFF", "#222222", "#D0D0D0"
V_COLOR, CATEGORY_COLOR = OKABE_ITO["vermillion"], OKABE_ITO["blue"]


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
    return str(figure.get_label())


def set_alt_text(figure: Figure, text: str) -> Figure:
    """Replace a figure's description; returns the figure."""
    figure.set_label(text)
    return figure


def to_png(
    figure: Figure, path: str | Path | None = None, *, about: Provenance | None = None
) -> bytes:
    """The figure as PNG bytes, with its description inside; written to ``path`` if given.

    Args:
        about: of a figure that shows generated pictures, where they come from.

    Raises:
        DiskFull: no space left; an earlier file is untouched.
    """
    stream = io.BytesIO()
    figure.savefig(
        stream, format="png", facecolor=PAPER, metadata={"Description": alt_text(figure)}
    )
    data = stream.getvalue()
    if about is not None:
        data = stamped(data, replace(about, composite=True))
    if path is not None:
        atomic_write_bytes(path, data)
    return data


def style_axes(ax: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> Axes:
    """Explicit colors everywhere: no style sheet of the reader's can hide a line or a letter."""
    ax.set_facecolor(PAPER)
    ax.set_title(title, color=INK, fontsize=9)
    ax.set_xlabel(xlabel, color=INK, fontsize=8)
    ax.set_ylabel(ylabel, color=INK, fontsize=8)
    ax.tick_params(colors=INK, labelsize=7)
    ax.grid(True, color=FAINT, linewidth=0.5, alpha=0.6)
    for spine in ax.spines.values():
        spine.set_color(INK)
    return ax


def legend(ax: Axes, beside: bool = False, handles: Sequence[Any] | None = None) -> None:
    """Name the lines; ``beside`` the axes where the lines leave no room inside.

    Args:
        handles: what is named, where it is not what these axes have.
    """
    where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if beside else {}
    if handles is not None:
        where["handles"] = handles
    ax.legend(fontsize=7, facecolor=PAPER, edgecolor=FAINT, labelcolor=INK, **where)


def wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))
