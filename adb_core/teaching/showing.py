"""Showing a figure, so that it teaches without eyes and on any page."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..plots import alt_text, to_png


def show(figure: Figure) -> None:
    """Display a figure as a PNG that carries its description.

    It looks the same on light and on dark pages.
    """
    from IPython.display import display

    display(
        {"image/png": to_png(figure), "text/plain": "<figure>"},
        raw=True,
        metadata={"image/png": {"alt": alt_text(figure)}},
    )
