"""Photos before they are learned from: what is odd about them, and how they are cut.

Nothing here changes a picture on disk. People are spoken of in words (``CONSENT``); ``people.py``
looks for them, if it is asked to.

Axes: n photos, K views of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from .images import PLAIN, Augmentation, ConceptError, view
from .pictures import side_by_side, stacked

CONSENT = (
    "if people can be recognized in these photos, ask them before you train on them or share the "
    "result: nobody is left out (adb crop-preview --people looks for them)"
)
HASH_SIDE = 16  # the perceptual hash has 16 x 16 bits
SAME_BITS = 16  # of 256 that near-duplicates may differ in; of other photos, half of the bits do
BLUR_SIDE = 256  # pixels of the shorter side at which blur is measured
BLURRED = 0.55  # of 1; sharp pictures stay below 0.4
CROPS = ("random", "center", "subject", "none")
MARGIN = 0.15  # of the subject's larger side, left around it
OUTLINE = (230, 60, 20)  # the square's edge in a preview


# ---------------------------------------------------------------- what is odd about photos


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """256 bits, bool (16, 16), that survive scaling, compression and brightness.

    Each says whether the picture gets brighter from one cell of a coarse grid to the next, to the
    right.
    """
    grey = Image.fromarray(image).convert("L")
    cells = grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    values = np.asarray(cells, dtype=np.int16)  # (16, 17)
    return values[:, 1:] > values[:, :-1] + 1  # a step of one may be compression alone


def duplicates(images: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs of photos that show nearly the same picture, by their numbers from 0."""
    hashes = [perceptual_hash(image) for image in images]
    return [
        (i, j)
        for j in range(len(hashes))
        for i in range(j)
        if np.count_nonzero(hashes[i] != hashes[j]) <= SAME_BITS
    ]


def blur(image: np.ndarray) -> float:
    """How blurred a picture is, 0 (sharp) to 1: what a further blur still takes from its edges.

    A sharp picture loses most of the differences between neighbouring pixels when it is blurred, a
    blurred one hardly any (Crete et al. 2007, "The blur effect"). Contrast and size do not count.
    """
    grey = Image.fromarray(image).convert("L")
    share = min(1.0, BLUR_SIDE / min(grey.size))
    small = grey.resize([max(2, round(s * share)) for s in grey.size], Image.Resampling.LANCZOS)
    values = np.asarray(small, dtype=np.float64)
    return max(_blur_along(values), _blur_along(values.T))


def _blur_along(values: np.ndarray, width: int = 9) -> float:
    """Along the last axis, (y, x)."""
    padded = np.pad(values, ((0, 0), (width // 2, width // 2)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1)
    smooth = (sums[:, width:] - sums[:, :-width]) / width  # (y, x)
    before, after = np.abs(np.diff(values)), np.abs(np.diff(smooth))
    lost = np.maximum(before - after, 0).sum()
    return 1.0 - lost / before.sum() if before.any() else 1.0


def remarks(
    images: Sequence[np.ndarray], names: Sequence[str] = (), side: int | None = None
) -> list[str]:
    """What whoever took the photos should know before training, one line each.

    Args:
        names: of the photos; by default their numbers from 1. side: pixels that the model takes in,
            if that is known.
    """
    names = names or [f"photo {number}" for number in range(1, len(images) + 1)]
    lines = [
        f"{names[i]} and {names[j]} show nearly the same: keep the better one, or the concept is "
        "learned with what surrounds it there"
        for i, j in duplicates(images)
    ]
    for name, image in zip(names, images, strict=True):
        h, w = image.shape[:2]
        if side is not None and min(h, w) < side:
            lines.append(
                f"{name} has {w} x {h} pixels, fewer than the {side} that the model takes in: it "
                "is enlarged, and its softness is learned too"
            )
        if blur(image) > BLURRED:
            lines.append(f"{name} looks blurred: take a sharper one, blur is learned too")
    return lines


# ---------------------------------------------------------------- how they are cut


class Square(NamedTuple):
    """A square of a photo in pixels; it may reach beyond the photo."""

    top: int
    left: int
    side: int


def square(shape: tuple[int, ...], how: str, mask: np.ndarray | None = None) -> Square:
    """Which square of a photo (h, w) a way of cropping keeps.

    "center" and "random" are the largest square in the middle (training cuts "random" anew for each
    view, anywhere in the photo); "subject" is the subject with a margin, as far as the photo has
    room for it; "none" holds the whole photo.

    Raises:
        ConceptError: an unknown way, or "subject" without a mask.
    """
    h, w = shape[:2]
    if how not in CROPS:
        raise ConceptError(f"unknown crop {how!r}: choose one of {', '.join(CROPS)}")
    if how == "none":
        side = max(h, w)
        return Square((h - side) // 2, (w - side) // 2, side)
    if how != "subject":
        side = min(h, w)
        return Square((h - side) // 2, (w - side) // 2, side)
    if mask is None or not mask.any():
        raise ConceptError(
            "crop 'subject' needs a mask of the subject in each photo, named in concept.json: "
            "add them, or choose center"
        )
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = min(round(extent * (1 + 2 * MARGIN)), h, w)
    middles = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    top, left = (
        int(np.clip(round(m - side / 2), 0, full - side))
        for m, full in zip(middles, (h, w), strict=True)
    )
    return Square(top, left, side)


def cut(image: np.ndarray, part: Square) -> np.ndarray:
    """That square of a photo, (side, side, 3), or of its mask, (side, side).

    What it has beyond the photo gets the mean color of the photo's border, and of a mask nothing.
    Models learn such bars: crop by hand where they are wide.
    """
    side, (h, w) = part.side, image.shape[:2]
    out = np.zeros((side, side, *image.shape[2:]), image.dtype)
    if image.ndim == 3:
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])  # (., 3)
        out[:] = border.mean(0).round()
    top, left = max(part.top, 0), max(part.left, 0)
    kept = image[top : min(part.top + side, h), left : min(part.left + side, w)]
    y, x = top - part.top, left - part.left
    out[y : y + kept.shape[0], x : x + kept.shape[1]] = kept
    return out


# ---------------------------------------------------------------- what they look like


def outlined(image: np.ndarray, part: Square, side: int) -> np.ndarray:
    """A whole photo within (side, side, 3), with the square's edge drawn on it."""
    top, left = min(part.top, 0), min(part.left, 0)
    bottom = max(part.top + part.side, image.shape[0])
    right = max(part.left + part.side, image.shape[1])
    scale = side / max(bottom - top, right - left)
    sheet = Image.new("RGB", (side, side), "white")
    size = [max(1, round(s * scale)) for s in (image.shape[1], image.shape[0])]
    photo = Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.LANCZOS)
    sheet.paste(photo, (round(-left * scale), round(-top * scale)))
    x, y = (part.left - left) * scale, (part.top - top) * scale
    edge = part.side * scale - 1
    width = max(1, side // 100)
    ImageDraw.Draw(sheet).rectangle((x, y, x + edge, y + edge), outline=OUTLINE, width=width)
    return np.asarray(sheet)


def crop_sheet(
    photos: Sequence[np.ndarray],
    parts: Sequence[Square],
    kept: Sequence[np.ndarray],
    side: int = 128,
    count: int = 4,
    seed: int = 0,
    augmentation: Augmentation = PLAIN,
) -> np.ndarray:
    """A contact sheet, uint8 (h, w, 3): a row for each photo, its square, and views as trained on.

    Args:
        photos: as they were read; parts: the squares that are kept; kept: what training reads, the
            photos themselves or :func:`cut` of them.
        side: pixels of a cell; count: K views; seed, augmentation: of the views, as in training.
    """
    rows = []
    for number, (photo, part, image) in enumerate(zip(photos, parts, kept, strict=True)):
        drawn = [view(image, side)]
        for k in range(1, count):
            rng = np.random.default_rng([seed, k, number])  # that of images.views
            drawn.append(view(image, side, rng, augmentation))
        rows.append(side_by_side(outlined(photo, part, side), *drawn))
    return stacked(*rows)
