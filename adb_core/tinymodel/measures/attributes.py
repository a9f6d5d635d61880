"""What the judge finds in pictures: in real ones, and in those that the model draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...toyworld.grammar import plain_caption
from ...toyworld.scene import LABELS, Scene, labels
from ..pipeline import Models, generate
from ..rows import Row, share_row

# (share, bar) of the judge on real and on generated pictures; None: reported, no bar
REAL_BARS = dict.fromkeys(LABELS, 0.98) | {"color": 0.95, "second color": 0.95, "build": 0.95}
GENERATED_BARS = {
    "category": 0.98, "place": 0.99, "style": 0.99, "accessory": 0.97, "color": 0.97,
    "relation": 0.95, "object": 0.95, "pattern": 0.90, "mark": 0.85,
    "second color": None, "build": None, "sky": None,
}  # fmt: skip
ABSENT = ("none", "plain", "regular")  # words that no caption asks for, whatever the label


@dataclass(frozen=True)
class Generated:
    """Pictures that the model drew, uint8 (n, h, w, 3), and what the judge read in each."""

    images: np.ndarray
    prompts: list[str]
    read: dict[str, list[str]]


def judge_rows(
    group: str, read: dict[str, list[str]], scenes: list[Scene], bars: dict, asked_only: bool
) -> list[Row]:
    """Share of pictures in which the judge finds what the scene says, per label.

    ``asked_only`` leaves out whatever the prompt does not name.
    """
    rows = []
    for name, bar in bars.items():
        truth = [labels(scene)[name] for scene in scenes]
        counted = [
            i for i, word in enumerate(truth) if word and not (asked_only and word in ABSENT)
        ]
        rows.append(share_row(group, name, [read[name][i] == truth[i] for i in counted], bar))
    return rows


def measure_generation(
    models: Models, scenes: list[Scene], seed: int, guidance: float
) -> tuple[list[Row], Generated]:
    """What the judge finds in pictures of held-out combinations; also the pictures."""
    prompts = [plain_caption(scene) for scene in scenes]
    images = generate(models.pipe, prompts, seed=1000 + seed * 100_000, guidance=guidance)
    read = models.judge.read(images)
    rows = judge_rows(
        "generated, held-out combinations", read, scenes, GENERATED_BARS, asked_only=True
    )
    return rows, Generated(images, prompts, read)
