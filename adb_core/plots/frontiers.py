"""Recipes compared: text against identity over a whole training, and scores by complexity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..metrics.frontiers import Moment
from ..metrics.intervals import Interval
from .figures import INK, OKABE_ITO, legend, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Color, marker and dash change together, so that no line depends on its color alone.
COLORS = ("vermillion", "blue", "green", "orange", "purple", "sky", "black")
MARKERS, DASHES = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", ":")


def looks(number: int) -> dict:
    """Color, marker and dash of the ``number``-th line; 21 are told apart."""
    return {
        "color": OKABE_ITO[COLORS[number % len(COLORS)]],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number // len(COLORS) % len(DASHES)],
    }


def frontier(
    curves: Mapping[str, Sequence[Moment]],
    *,
    matched_text: float | None = None,
    title: str = "",
) -> Figure:
    """Text against identity while recipes train: up and to the right is better.

    Args:
        curves: name -> its moments (:func:`adb_core.metrics.moments`), the first at the base model.
        matched_text: where a line is drawn: from here on, text is as good as the base model's.

    Raises:
        ValueError: no curve, or one without moments.
    """
    _check(curves, "moments")
    figure = new_figure(6.4, 4.6, frontier_alt(curves, matched_text))
    ax = style_axes(
        figure.subplots(), title, "text: share of what was asked", "identity: share of the ceiling"
    )
    for number, (name, points) in enumerate(curves.items()):
        points = sorted(points, key=lambda moment: moment.step)
        _curve(ax, [m.text for m in points], [m.identity for m in points], name, number)
        last = points[-1]
        ax.annotate(
            f"{last.step} steps", (last.text.mean, last.identity.mean), color=INK, fontsize=6,
            xytext=(3, 3), textcoords="offset points",
        )  # fmt: skip
    if matched_text is not None:
        ax.axvline(matched_text, color=INK, linewidth=0.8, linestyle=":", label="matched text")
    legend(ax)
    return figure


def _curve(ax: Axes, xs: Sequence[Interval], ys: Sequence[Interval], name: str, k: int) -> None:
    """A line through the means, with both intervals at every point."""
    look, x, y = looks(k), [i.mean for i in xs], [i.mean for i in ys]
    ax.errorbar(
        x, y, xerr=_arms(xs), yerr=_arms(ys), label=name, linewidth=1.2, markersize=4,
        elinewidth=0.5, **look,
    )  # fmt: skip


def _arms(intervals: Sequence[Interval]) -> list[list[float]]:
    """How far each interval reaches below and above its mean, as matplotlib wants it."""
    low = [max(0.0, i.mean - i.low) for i in intervals]
    return [low, [max(0.0, i.high - i.mean) for i in intervals]]


def frontier_alt(curves: Mapping[str, Sequence[Moment]], matched_text: float | None = None) -> str:
    """The curves in words: where each begins and ends."""
    parts = []
    for name, points in curves.items():
        first, last = min(points), max(points)
        parts.append(
            f"{name}: text from {first.text.mean:.2f} to {last.text.mean:.2f} and identity from "
            f"{first.identity.mean:.2f} to {last.identity.mean:.2f} after {last.step} steps"
        )
    line = "" if matched_text is None else f" A line marks text {matched_text:.2f}."
    return f"Identity against text while each recipe trains. {'; '.join(parts)}.{line}"


def by_complexity(
    series: Mapping[str, Mapping[int, Interval]],
    *,
    score: str = "joint score",
    points: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
    title: str = "",
) -> Figure:
    """A score against how much the prompts ask for: one line a recipe, with its intervals.

    Args:
        series: name -> complexity -> interval over concepts.
        points: name -> complexity -> every concept's own value, drawn as small dots.

    Raises:
        ValueError: no series, or an empty one.
    """
    _check(series, "values")
    figure = new_figure(7.6, 4.0, complexity_alt(series, score))
    ax = style_axes(figure.subplots(), title, "things that the prompt asks for", score)
    for number, (name, levels) in enumerate(series.items()):
        xs, intervals = sorted(levels), [levels[x] for x in sorted(levels)]
        shift = 0.04 * (number - (len(series) - 1) / 2)  # intervals stand side by side
        look = looks(number)
        ax.errorbar(
            [x + shift for x in xs], [i.mean for i in intervals], yerr=_arms(intervals),
            label=name, linewidth=1.2, markersize=4, elinewidth=0.8, capsize=2, **look,
        )  # fmt: skip
        for x, values in (points or {}).get(name, {}).items():
            ax.scatter([x + shift] * len(values), values, s=4, color=look["color"], alpha=0.5)
    ax.set_xticks(sorted({x for levels in series.values() for x in levels}))
    legend(ax, beside=True)
    return figure


def complexity_alt(series: Mapping[str, Mapping[int, Interval]], score: str) -> str:
    """The lines in words: each recipe's score at its lowest and its highest complexity."""
    parts = [
        f"{name}: {levels[min(levels)].mean:.2f} at {min(levels)} and "
        f"{levels[max(levels)].mean:.2f} at {max(levels)}"
        for name, levels in series.items()
    ]
    return f"The {score} against the number of things that prompts ask for. {'; '.join(parts)}."


def _check(lines: Mapping, what: str) -> None:
    if not lines:
        raise ValueError("there is nothing to draw")
    for name, values in lines.items():
        if not values:
            raise ValueError(f"{name!r} has no {what} to draw")
