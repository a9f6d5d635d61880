"""Pictures that are drawn while something runs: cheap enough for twice a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..pictures import font
from ..plots import CATEGORY_COLOR, INK, PAPER, V_COLOR

SERIES = {"[V]": ("v_mean", V_COLOR), "category": ("category_mean", CATEGORY_COLOR)}


def live_curve(history: Sequence, total: int, size: tuple[int, int] = (640, 180)) -> Image.Image:
    """[V]'s and the category's mean attention over the steps so far, of ``total``."""
    picture = Image.new("RGB", size, PAPER)
    pen, small = ImageDraw.Draw(picture), font(12)
    left, right, top, bottom = 50, size[0] - 10, 24, size[1] - 24
    values = {
        who: [(k, float(np.mean(v))) for k, r in enumerate(history) if (v := getattr(r, name))]
        for who, (name, _) in SERIES.items()
    }
    highest = max([y for points in values.values() for _, y in points], default=1.0) * 1.05 or 1.0
    pen.rectangle((left, top, right, bottom), outline=INK)
    for share in (0, 0.5, 1):
        y = bottom - share * (bottom - top) - 7
        pen.text((4, y), f"{share * highest:.3f}", fill=INK, font=small)
    pen.text((left, bottom + 4), f"step {len(history)} of {total}", fill=INK, font=small)
    for number, (who, points) in enumerate(values.items()):
        color = SERIES[who][1]
        scaled = [
            (left + k / max(total - 1, 1) * (right - left), bottom - y / highest * (bottom - top))
            for k, y in points
        ]
        if len(scaled) > 1:
            pen.line(scaled, fill=color, width=2)
        pen.text((left + 190 * number, 4), f"mean attention of {who}", fill=color, font=small)
    return picture


def gallery(tried: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """What was tried, one labeled row each."""
    height = sum(image.shape[0] + 22 for _, image in tried)
    picture = Image.new("RGB", (max(max(image.shape[1] for _, image in tried), 520), height), PAPER)
    pen, y = ImageDraw.Draw(picture), 0
    for label, image in tried:
        pen.text((2, y + 3), label, fill=INK, font=font(13))
        picture.paste(Image.fromarray(image), (0, y + 20))
        y += image.shape[0] + 22
    return picture
