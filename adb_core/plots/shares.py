"""Attention divided among all tokens of a prompt, model beside model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .figures import CATEGORY_COLOR, FAINT, INK, OKABE_ITO, PAPER, V_COLOR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHERS = ("sky", "green", "yellow", "purple", "orange")  # in turn
NARROW = 0.04  # a share below this has no room for its name


def attention_stack(
    shares: Mapping[str, Mapping[str, float]], *, v: str | None = None, category: str | None = None
) -> Figure:
    """One bar a model, divided among the tokens of its prompt.

    Args:
        shares: label -> token -> share, as of :func:`adb_core.attention_shares`.
        v, category: the tokens drawn in their own colors, [V]'s and the category's.

    Raises:
        ValueError: nothing to show, or shares that do not sum to 1.
    """
    if not shares:
        raise ValueError("there are no shares to show")
    for label, parts in shares.items():
        if abs(sum(parts.values()) - 1) > 0.01:
            raise ValueError(f"the shares of {label!r} sum to {sum(parts.values()):.3f}, not 1")
    figure = new_figure(8.5, 0.75 + 0.45 * len(shares), _alt(shares))
    ax = style_axes(figure.add_subplot(), xlabel="share of the attention")
    ax.grid(False)
    colors = _colors(shares, v, category)
    for line, parts in enumerate(shares.values()):
        left = 0.0
        for token, share in parts.items():
            ax.barh(line, share, left=left, color=colors[token], edgecolor=PAPER, linewidth=0.8)
            if share >= NARROW:
                dark = token in (v, category)
                text = f"{token}\n{100 * share:.0f} %"
                ax.text(
                    left + share / 2,
                    line,
                    text,
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color=PAPER if dark else INK,
                )
            left += share
    ax.set(xlim=(0, 1), ylim=(len(shares) - 0.5, -0.5))
    ax.set_yticks(range(len(shares)), list(shares), color=INK, fontsize=8)
    return figure


def _colors(
    shares: Mapping[str, Mapping[str, float]], v: str | None, category: str | None
) -> dict[str, str]:
    """Start and end are grey, [V] and the category have their own, the others take turns."""
    colors: dict[str, str] = {}
    for token in (token for parts in shares.values() for token in parts):
        taken = sum(c in map(OKABE_ITO.get, OTHERS) for c in colors.values())
        fill = OKABE_ITO[OTHERS[taken % len(OTHERS)]]
        if token in ("start", "end"):
            fill = FAINT
        elif token == v:
            fill = V_COLOR
        elif token == category:
            fill = CATEGORY_COLOR
        colors.setdefault(token, fill)
    return colors


def _alt(shares: Mapping[str, Mapping[str, float]]) -> str:
    told = [
        f"{label}: " + ", ".join(f"{t} {100 * s:.0f} %" for t, s in parts.items() if s >= NARROW)
        for label, parts in shares.items()
    ]
    return "How attention is divided among the tokens of the prompt. " + "; ".join(told) + "."
