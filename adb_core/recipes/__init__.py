"""Recipes: what is trained, for how long, with which regularizer. Data only; one engine runs all.

Every method and every ablation of the paper is a :class:`Recipe`: a row of ``paper.py``, for Stable
Diffusion, and the same row of ``tiny.py``, for the bundled model. To add one, add its row to both.
What other papers have since proposed, and further ablations, stand in ``others.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from .lora import Lora
from .others import OTHERS_PAPER, OTHERS_TINY
from .paper import PAPER
from .stage import Recipe, Stage, scaled
from .tiny import TINY

__all__ = ["PRESETS", "RECIPES", "Lora", "Recipe", "Stage", "recipe", "recipe_table", "scaled"]

_PRESETS = {
    preset: {r.name: r for r in rows}
    for preset, rows in (("tiny", TINY + OTHERS_TINY), ("paper", PAPER + OTHERS_PAPER))
}
PRESETS = tuple(_PRESETS)
RECIPES = tuple(_PRESETS["tiny"])


def recipe(name: str, preset: str = "tiny") -> Recipe:
    """A named recipe.

    Raises:
        ValueError: unknown recipe or preset; the message lists them.
    """
    if preset not in _PRESETS:
        raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    if name not in _PRESETS[preset]:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return _PRESETS[preset][name]


def recipe_table(
    names: Sequence[str] = ("attndreambooth",), presets: Sequence[str] = ("paper", "tiny")
) -> str:
    """The numbers of some recipes as a text table: one line a stage, preset beside preset.

    Raises:
        ValueError: an unknown recipe or preset.
    """
    columns = ("steps", "lr", "batch", "lambda_mu", "lambda_sigma")
    rows = [("", "", *(preset for preset in presets for _ in columns))]
    rows.append(("recipe", "stage", *(columns * len(presets))))
    for name in names:
        for stages in zip(*(recipe(name, preset).stages for preset in presets), strict=True):
            rows.append((name, stages[0].name, *(n for stage in stages for n in _numbers(stage))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _numbers(stage: Stage) -> tuple[str, ...]:
    numbers = (stage.steps, stage.lr, stage.batch_size, stage.lambda_mu, stage.lambda_sigma)
    return tuple(f"{number:g}" for number in numbers)
