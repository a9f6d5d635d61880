"""Showing a figure, so that it teaches without eyes and on any page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..pictures import film, opened, side_by_side
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


def show_film(figures: Sequence[Figure], milliseconds: int = 600) -> None:
    """Display figures of one size one after the other, again and again; the last one stays longer.

    It is a PNG that moves. Pages that hold pictures still show its first frame, and printed pages
    do, so what it shows has to stand in a still figure as well. The description is the first one's
    and the last one's.
    """
    from IPython.display import display

    alt = f"Film, first frame: {alt_text(figures[0])} Last frame: {alt_text(figures[-1])}"
    frames = [opened(to_png(figure)) for figure in (*figures, *figures[-1:] * 2)]
    display(
        {"image/png": film(frames, milliseconds, alt), "text/plain": "<film>"},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )


def show_clips(clips: Mapping[str, np.ndarray], about: str, milliseconds: int = 150) -> None:
    """Display clips beside one another, again and again, as a PNG that moves.

    As of :func:`show_film`, a still strip of the same frames has to stand beside it.

    Args:
        clips: name -> frames, uint8 (f, h, w, 3), as many of each; the names are in the
            description alone. about: what they show.
    """
    from IPython.display import display

    alt = f"Film, from left to right {', '.join(clips)}: {about}"
    frames = [side_by_side(*each, gap=4) for each in zip(*clips.values(), strict=True)]
    display(
        {"image/png": film(frames, milliseconds, alt), "text/plain": "<film>"},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )
