"""What votes say: estimates with their intervals, and how many votes a study needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..preference.exact import power, votes_needed
from .figures import FAINT, INK, OKABE_ITO, PAPER, legend, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = tuple[float, float, float]  # an estimate and the ends of its interval


def forest(
    rows: Mapping[str, Row],
    title: str,
    unit: str,
    *,
    reference: float | None = None,
    truth: Mapping[str, float] | None = None,
) -> Figure:
    """One estimate a line, with its interval; hollow and without one where nobody knows it.

    Args:
        rows: name -> (value, low, high), all in ``unit``; ends that are not numbers draw no
            interval.
        reference: where there is no preference, a dotted line.
        truth: name -> the true value, where a program has set it; a cross.

    Raises:
        ValueError: there is no row, or a truth of a row that is not there.
    """
    truth = truth or {}
    if not rows:
        raise ValueError("there are no estimates to draw: give one row at least")
    if missing := sorted(set(truth) - set(rows)):
        raise ValueError(f"the truth names {missing[0]!r}, which is no row: {', '.join(rows)}")
    figure = new_figure(7.0, 0.9 + 0.34 * len(rows), _forest_alt(rows, title, unit, truth))
    ax = style_axes(figure.add_subplot(), title, unit)
    if reference is not None:
        ax.axvline(reference, color=INK, linestyle=":", linewidth=1.0)
    for place, (name, (value, low, high)) in enumerate(rows.items()):
        known = math.isfinite(low) and math.isfinite(high)
        ends = [[value - low], [high - value]] if known else None
        ax.errorbar(
            [value], [place], xerr=ends, fmt="o", color=OKABE_ITO["blue"], capsize=3,
            markerfacecolor=OKABE_ITO["blue"] if known else PAPER,
        )  # fmt: skip
        if name in truth:
            first = "set by the program" if name == next(iter(truth)) else None
            ax.plot([truth[name]], [place], "x", color=OKABE_ITO["vermillion"], ms=9, label=first)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    if truth:
        legend(ax)
    return figure


def _forest_alt(rows: Mapping[str, Row], title: str, unit: str, truth: Mapping[str, float]) -> str:
    parts = []
    for name, (value, low, high) in rows.items():
        text = f"{name}: {value:.3g}"
        text += f", interval {low:.3g} to {high:.3g}" if math.isfinite(low) else ", no interval"
        parts.append(text + (f", truth {truth[name]:.3g}" if name in truth else ""))
    return f"{title}, in {unit}. {'; '.join(parts)}."


def power_curve(share: float, alpha: float = 0.05, wanted: float = 0.8) -> Figure:
    """The chance of a significant result against the number of decided votes, at a true share.

    Of the exact two-sided test (:mod:`adb_core.preference.exact`); the curve's small teeth are
    its own, for votes come one by one.

    Raises:
        CountError: a share that no study can tell from one half, or that is none.
    """
    needed = votes_needed(share, alpha, wanted)
    top = max(30, round(1.6 * needed))
    counts = np.unique(np.linspace(1, top, min(top, 160)).astype(int))
    chances = [power(int(count), share, alpha) for count in counts]
    said = f"{100 * share:.0f} % need {needed} decided votes"
    figure = new_figure(
        5.2, 2.6,
        f"Chance of a significant result against the number of votes, rising from 0: {said} for a "
        f"chance of {100 * wanted:.0f} %, at alpha {alpha:g}.",
    )  # fmt: skip
    title = f"{said}\n(alpha {alpha:g}, power {100 * wanted:.0f} %)"
    ax = style_axes(figure.add_subplot(), title, "decided votes", "chance to see it")
    ax.plot(counts, chances, color=OKABE_ITO["blue"])
    ax.axhline(wanted, color=INK, linestyle=":", linewidth=1.0)
    ax.plot([needed, needed], [0, wanted], color=FAINT, linewidth=1.0)
    ax.plot([needed], [power(needed, share, alpha)], "o", color=OKABE_ITO["vermillion"])
    ax.set(xlim=(0, top), ylim=(0, 1.02))
    return figure
