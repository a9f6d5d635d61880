"""Scores beside what they would be if there were nothing to find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .figures import INK, OKABE_ITO, legend, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def beside_controls(
    scores: Mapping[str, Mapping[str, float]],
    controls: Mapping[str, Mapping[str, float]],
    ceilings: Mapping[str, float] | None = None,
) -> Figure:
    """One panel a score: each model's mean beside that of its control, and a line at the ceiling.

    Args:
        scores, controls: model -> name of a score -> mean; the same models and names in both.
        ceilings: name of a score -> what a perfect model gets.

    Raises:
        ValueError: nothing to show, or a score without its control.
    """
    names = list(next(iter(scores.values()), {}))
    if not names:
        raise ValueError("there are no scores to show")
    for model, found in scores.items():
        if set(found) != set(names) or set(controls.get(model, {})) != set(names):
            raise ValueError(f"{model!r} has not every score with its control")
    figure = new_figure(3 * len(names), 3, _alt(scores, controls))
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for ax, name in zip(axes, names, strict=True):
        style_axes(ax, name)
        for k, model in enumerate(scores):
            bars = (
                (-0.19, scores, "score", "blue", ""),
                (0.19, controls, "control", "yellow", "//"),
            )
            for shift, values, label, color, hatch in bars:
                ax.bar(
                    k + shift, values[model][name], 0.36, color=OKABE_ITO[color], hatch=hatch,
                    edgecolor=INK, label=None if k else label,
                )  # fmt: skip
        if ceilings and name in ceilings:
            line = {"color": INK, "linewidth": 1, "linestyle": ":"}
            ax.axhline(ceilings[name], label="a perfect model", **line)
        ax.axhline(0, color=INK, linewidth=0.8)
        ax.set_xticks(range(len(scores)), [model.replace(" ", "\n") for model in scores], color=INK)
        ax.margins(y=0.05)
    named = max((ax.get_legend_handles_labels() for ax in axes), key=lambda found: len(found[0]))
    legend(axes[-1], beside=True, handles=named[0])  # bars leave no room for one inside
    return figure


def _alt(scores: Mapping, controls: Mapping) -> str:
    parts = [
        f"{model}: "
        + ", ".join(f"{n} {v:.2f}, control {controls[model][n]:.2f}" for n, v in found.items())
        for model, found in scores.items()
    ]
    return f"Scores beside controls that should be low. {'; '.join(parts)}."
