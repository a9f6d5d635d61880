"""One concept in many looks: styles x props x places on one sheet, and cut-outs without background.

Axes: n pictures, h, w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import Drawable
from ..generation import generate
from ..pictures import enlarge, side_by_side, stacked
from ..sampling import PromptError
from .masks import map_mask, picture_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Avatars:
    """A concept in every style with every prop (rows) in every place (columns).

    Attributes:
        images: uint8 (n, h, w, 3), row by row. prompts: of each, with ``{}`` or the category.
        rows, columns: what they are called. seed: of all.
    """

    images: np.ndarray
    prompts: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    seed: int

    @property
    def grid(self) -> list[list[np.ndarray]]:
        """The pictures, row by row."""
        count = len(self.columns)
        return [list(self.images[k : k + count]) for k in range(0, len(self.images), count)]

    def sheet(self, side: int = 96) -> np.ndarray:
        """The contact sheet, uint8 (h, w, 3), each picture ``side`` pixels high; for a file."""
        rows = (side_by_side(*(enlarge(i, side) for i in row), gap=4) for row in self.grid)
        return stacked(*rows, gap=4)

    def figure(self) -> Figure:
        """The contact sheet with its labels, for a page."""
        from ..plots import image_grid

        return image_grid(
            self.grid,
            column_labels=list(self.columns),
            row_labels=list(self.rows),
            alt=f"{len(self.rows)} rows ({', '.join(self.rows)}), "
            f"{len(self.columns)} columns ({', '.join(self.columns)})",
        )


def avatar_prompts(
    styles: Sequence[str], places: Sequence[str], props: Sequence[str] = ("",), subject: str = "{}"
) -> tuple[list[str], list[str]]:
    """The prompts of a sheet, row by row, and the names of its rows (style, and prop).

    Args:
        styles: as "a photo". places: as "on the beach". props: as "wearing a hat"; "" is none.
        subject: "{}", or for a base model the category.

    Raises:
        PromptError: nothing to combine, or something twice.
    """
    for name, words in (("style", styles), ("place", places), ("prop", props)):
        if isinstance(words, str) or not len(words):
            raise PromptError(f"give a list of at least one {name}, got {words!r}")
        if len(set(words)) < len(words):
            raise PromptError(f"a {name} comes twice: {', '.join(words)}")
    prompts, rows = [], []
    for style in styles:
        for prop in props:
            rows.append(f"{style}, {prop}" if prop else style)
            prompts += [" ".join(f"{style} of a {subject} {prop} {p}".split()) for p in places]
    return prompts, rows


def avatar_sheet(
    model: Drawable,
    styles: Sequence[str],
    places: Sequence[str],
    props: Sequence[str] = ("",),
    *,
    seed: int = 0,
    subject: str | None = None,
    **sampling: Any,
) -> Avatars:
    """Draw a contact sheet of a concept.

    Args:
        styles, places, props: as of :func:`avatar_prompts`. seed: one for all, so that only words
            differ.
        subject: the category, for a base model, which has learned none.
        sampling: fields of :class:`adb_core.Sampling`.

    Raises:
        PromptError: as :func:`avatar_prompts`, or no subject for a base model.
    """
    if model.subject is None and subject is None:
        raise PromptError("a base model has learned no subject: name one, as in subject='cat'")
    word = "{}" if model.subject is not None else str(subject)
    prompts, rows = avatar_prompts(styles, places, props, word)
    images = generate(model, prompts, [seed], **sampling).images
    return Avatars(images, tuple(prompts), tuple(rows), tuple(places), seed)


def cutout(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture, uint8 (h, w, 3), transparent outside of a bool mask (h, w): uint8 (h, w, 4).

    Raises:
        ValueError: they are of different sizes.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} does not fit a picture of {image.shape[:2]}")
    return np.dstack([image, np.where(mask, 255, 0).astype(np.uint8)])


def cutouts(
    model: Drawable, prompt: str, images: np.ndarray, word: str | None = None
) -> np.ndarray:
    """Subjects without their background, uint8 (n, h, w, 4); the mask is :func:`map_mask`'s.

    Args:
        prompt, images, word: as of :func:`adb_core.beyond.picture_maps`.

    Raises:
        PromptError, ValueError: as there.
    """
    maps = picture_maps(model, prompt, images, word)
    side = images.shape[1]
    return np.stack([cutout(i, map_mask(h, side)) for i, h in zip(images, maps, strict=True)])
