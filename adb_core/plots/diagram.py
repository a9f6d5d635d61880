"""THE diagram of the series: where a prompt and the photos go, what is trained, what is looked at.

The same picture returns in every notebook, with another box lit. Frozen parts are grey, trained
parts are orange; a thick blue frame is what the page is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .figures import INK, OKABE_ITO, PAPER, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..recipes import Stage

FROZEN, TRAINED, DATA = "#E4E4E4", "#F7C56B", PAPER
LIT = OKABE_ITO["blue"]
# name: (left, bottom, width, height, what stands in it); units are inches of the drawing
BOXES: dict[str, tuple[float, float, float, float, str]] = {
    "prompt": (0.1, 1.47, 1.35, 0.55, "prompt\n“a [V] cat on the beach”"),
    "tokens": (1.75, 1.47, 1.0, 0.55, "tokens,\none row each"),
    "row": (1.75, 0.55, 1.0, 0.5, "row of [V]"),
    "text encoder": (3.05, 1.47, 0.95, 0.55, "text\nencoder"),
    "unet": (4.35, 1.25, 2.15, 1.45, "U-Net, step by step"),
    "self-attention": (4.5, 2.1, 1.85, 0.34, "convolutions, self-attention"),
    "cross-attention": (4.5, 1.575, 1.85, 0.34, "cross-attention: q k v out"),
    "noisy latent": (4.75, 3.035, 1.35, 0.4, "noisy latent"),
    "encoder": (6.85, 2.96, 0.8, 0.55, "VAE\nencoder"),
    "photos": (7.95, 2.96, 0.8, 0.55, "photos"),
    "decoder": (6.85, 1.47, 0.8, 0.55, "VAE\ndecoder"),
    "picture": (7.95, 1.47, 0.8, 0.55, "picture"),
    "people": (7.95, 2.24, 0.8, 0.5, "people\ncompare"),
    "maps": (4.5, 0.3, 1.85, 0.5, "map of [V],\nmap of “cat”"),
    "regularizer": (6.85, 0.3, 1.9, 0.5, "regularizer: as high,\nas uneven as “cat”"),
}
INPUTS = {
    "prompt", "tokens", "noisy latent", "photos", "picture", "people", "maps", "regularizer",
}  # fmt: skip
# from, to, where from, where to: l(eft), r(ight), t(op), b(ottom)
ARROWS = (
    ("prompt", "tokens", "r", "l"),
    ("row", "tokens", "t", "b"),
    ("tokens", "text encoder", "r", "l"),
    ("text encoder", "cross-attention", "r", "l"),
    ("photos", "encoder", "l", "r"),
    ("encoder", "noisy latent", "l", "r"),
    ("noisy latent", "unet", "b", "t"),
    ("unet", "decoder", "r", "l"),
    ("decoder", "picture", "r", "l"),
    ("picture", "people", "t", "b"),
    ("photos", "people", "b", "t"),
    ("cross-attention", "maps", "b", "t"),
    ("maps", "regularizer", "r", "l"),
)
PARTS_OF = {  # what a stage trains -> boxes
    "embedding": ("row",),
    "cross_attention": ("cross-attention",),
    "unet": ("unet", "self-attention", "cross-attention"),
}


def diagram(lit: str | Sequence[str] = (), stage: Stage | None = None) -> Figure:
    """The whole pipeline; ``lit`` boxes have a thick blue frame.

    Args:
        lit: names of :data:`BOXES`.
        stage: whose trained parts are orange; None shows a model that only draws. Dotted arrows are
            not used.

    Raises:
        ValueError: there is no such box.
    """
    lit = (lit,) if isinstance(lit, str) else tuple(lit)
    unknown = [name for name in lit if name not in BOXES]
    if unknown:
        raise ValueError(f"the diagram has no box {unknown[0]!r}: choose from {', '.join(BOXES)}")
    trained = {box for part in (stage.train if stage else ()) for box in PARTS_OF[part]}
    figure = new_figure(8.85, 3.6, _alt(lit, stage, trained))
    ax = figure.add_subplot()
    ax.set(xlim=(0, 8.85), ylim=(0, 3.6), aspect="equal")
    ax.axis("off")
    for name in BOXES:
        _box(ax, name, lit=name in lit, trained=name in trained)
    for arrow in ARROWS:
        unused = {"regularizer"} if stage is None or not stage.regularized else set()
        unused |= {"encoder"} if stage is None else set()
        unused |= {"people"} if "people" not in lit else set()
        quiet = bool(unused & set(arrow))
        _arrow(ax, *arrow, quiet=quiet)
    _key(ax, stage)
    return figure


def _box(ax: Axes, name: str, *, lit: bool, trained: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y, width, height, text = BOXES[name]
    fill = TRAINED if trained else DATA if name in INPUTS else FROZEN
    ax.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=fill,
            edgecolor=LIT if lit else INK,
            linewidth=3.2 if lit else 0.8,
            zorder=2 if name == "unet" else 3,
        )
    )
    top = name == "unet"  # its other boxes lie inside
    ax.text(
        x + width / 2,
        y + height - 0.13 if top else y + height / 2,
        text,
        ha="center",
        va="center",
        fontsize=7.5,
        color=INK,
        weight="bold" if lit else "normal",
        zorder=4,
    )


def _end(name: str, side: str, other: str) -> tuple[float, float]:
    """Where an arrow meets a box: level with the smaller box, or above or below it."""
    x, y, width, height, _ = BOXES[name]
    _, bottom, _, tall = min((BOXES[name], BOXES[other]), key=lambda box: box[3])[:4]
    level = bottom + tall / 2
    ends = {"l": (x, level), "r": (x + width, level)}
    return {**ends, "t": (x + width / 2, y + height), "b": (x + width / 2, y)}[side]


def _arrow(ax: Axes, start: str, end: str, leave: str, enter: str, *, quiet: bool) -> None:
    from matplotlib.patches import FancyArrowPatch

    ax.add_patch(
        FancyArrowPatch(
            _end(start, leave, end),
            _end(end, enter, start),
            arrowstyle="-|>",
            mutation_scale=9,
            linewidth=1.0,
            linestyle=":" if quiet else "-",
            color=INK,
            shrinkA=0,
            shrinkB=1,
            zorder=5,
        )
    )


def _key(ax: Axes, stage: Stage | None) -> None:
    """What the colors mean, in the lower left corner."""
    from matplotlib.patches import Rectangle

    entries = [(FROZEN, INK, "frozen"), (DATA, INK, "no weights")]
    if stage is not None:
        entries.insert(0, (TRAINED, INK, f"trained: {stage.name}"))
    for line, (fill, edge, text) in enumerate(entries):
        y = 0.06 + 0.19 * line
        ax.add_patch(Rectangle((0.1, y), 0.2, 0.13, facecolor=fill, edgecolor=edge, linewidth=0.6))
        ax.text(0.37, y + 0.065, text, fontsize=7, color=INK, va="center")


def _alt(lit: Sequence[str], stage: Stage | None, trained: set[str]) -> str:
    parts = [
        "A prompt becomes tokens, one row of numbers each, [V] among them; the text encoder turns "
        "them into words' states, which the cross-attention of the U-Net reads while it takes "
        "noise away; the VAE decodes the picture. Photos become noisy latents to train on; people "
        "may be asked to compare pictures with them."
    ]
    if stage is not None:
        parts.append(f"Trained in {stage.name}: {', '.join(n for n in BOXES if n in trained)}.")
    if lit:
        parts.append(f"This page is about: {', '.join(lit)}.")
    return " ".join(parts)
