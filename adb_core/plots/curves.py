"""What happened during training: losses and map statistics, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..records import StepRecord, by_stage, last_tenth
from .figures import (
    CATEGORY_COLOR,
    FAINT,
    INK,
    OKABE_ITO,
    V_COLOR,
    legend,
    new_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _smooth(values: Sequence[float], width: int) -> np.ndarray:
    """Running mean over the last ``width`` values (fewer at the beginning), same length."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)


def training_curves(history: Sequence[StepRecord]) -> Figure:
    """Loss and attention statistics of every stage: three rows, one column a stage.

    The statistics are averaged over the layers; those of [V] (solid) are drawn beside the
    category's (dashed), which the regularizer pulls them towards.

    Raises:
        ValueError: no records.
    """
    stages = by_stage(history)
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
            steps, means = zip(*seen, strict=True)
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
    for name, records in by_stage(history).items():
        end = last_tenth(records)
        first, last = (
            float(np.mean([r.loss for r in part])) for part in (records[: len(end)], end)
        )
        text = f"{name}: {len(records)} steps, loss from {first:.3f} to {last:.3f}"
        v, cat = (
            [float(np.mean(x)) for r in end if (x := getattr(r, f"{who}_mean"))]
            for who in ("v", "category")
        )
        if v and cat:
            text += (
                f", attention mean at the end {np.mean(v):.3f} for [V] "
                f"and {np.mean(cat):.3f} for the category"
            )
        parts.append(text)
    what = "Curves of the loss and of the mean and variance of attention maps."
    return f"{what} {'; '.join(parts)}."


def ratio_curves(histories: Mapping[str, Sequence[StepRecord]]) -> Figure:
    """Mean attention of [V] divided by its category's, at every step of one or two trainings.

    The mean is over layers, heads, pixels and the samples of the step's batch.

    Args:
        histories: label -> records, of stages that held [V]'s map against the category's or at
            least recorded both.

    Raises:
        ValueError: no training, more than two, or a step without map statistics.
    """
    if not 1 <= len(histories) <= 2:
        raise ValueError(f"one or two trainings are compared, got {len(histories)}")
    ratios = {}
    for name, history in histories.items():
        if not history or not all(r.v_mean and r.category_mean for r in history):
            raise ValueError(f"{name}: there are steps without statistics of both maps")
        ratios[name] = [float(np.mean(r.v_mean) / np.mean(r.category_mean)) for r in history]
    said = "; ".join(
        f"{name}: {np.mean(r[-len(r) // 10 :]):.2f} at the end" for name, r in ratios.items()
    )
    figure = new_figure(
        7.5, 2.8, f"Mean attention of [V] divided by the category's, step by step. {said}."
    )
    ax = style_axes(figure.subplots(), "mean attention: [V] / category", "training step", "ratio")
    looks = ((V_COLOR, "-"), (CATEGORY_COLOR, "--"))
    for (name, ratio), (color, style) in zip(ratios.items(), looks, strict=False):
        ax.plot(range(1, len(ratio) + 1), ratio, color=color, linestyle=style, label=name)
    ax.axhline(1, color=INK, linewidth=0.8, linestyle=":")
    legend(ax)
    return figure
