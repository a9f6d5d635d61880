"""Checks of notebook 02."""

from __future__ import annotations

import numpy as np
import torch

from . import differs


def _same(got, wanted) -> bool:
    return differs(got, wanted) is None


def check_1(attention_probabilities) -> str | None:
    generator = torch.Generator().manual_seed(0)
    q, k = (
        torch.randn((2, 3, 7, 16), generator=generator),
        torch.randn((2, 3, 5, 16), generator=generator),
    )
    logits = q @ k.transpose(-1, -2)  # (b, heads, pixels, tokens)
    scaled = logits / 4.0
    got = attention_probabilities(q, k)
    if _same(got, scaled):
        return "these are the logits: the softmax is missing"
    if _same(got, scaled.softmax(-2)):
        return (
            "the softmax runs over the pixels: every pixel's probabilities over the tokens should "
            "add up to 1"
        )
    if _same(got, logits.softmax(-1)):
        return "the logits are not divided by the square root of d"
    if _same(got, (logits / 16).softmax(-1)):
        return "the logits are divided by d: it is the square root of d"
    return differs(got, scaled.softmax(-1), "the array of probabilities")


def check_2(points_at) -> str | None:
    word_map, mask = np.zeros((4, 4)), np.zeros((12, 12), dtype=bool)
    word_map[1, 2] = 1.0
    mask[3:6, 6:9] = True
    got = points_at(word_map, mask)
    if not isinstance(got, bool | np.bool_):
        return f"it should return True or False, and gave {type(got).__name__}"
    if not got:
        if points_at(word_map, mask.T):
            return (
                "rows and columns have changed places: the first index of an array is y, from the "
                "top"
            )
        return "it misses a mask that fills the largest cell"
    if points_at(word_map, ~mask):
        return "it should be False where the largest cell is outside of the mask"
    few, enough = np.zeros_like(mask), np.zeros_like(mask)
    few[3, 6:8] = True  # 2 of 9 pixels
    enough[3, 6:9] = True  # 3 of 9
    if points_at(word_map, few):
        return "2 of a cell's 9 pixels are less than a quarter: that is no hit"
    if not points_at(word_map, enough):
        return "3 of a cell's 9 pixels are more than a quarter: that is a hit"
    exact = np.zeros((8, 8), dtype=bool)
    exact[2, 4] = True  # 1 of 4
    return None if points_at(word_map, exact) else "exactly a quarter counts as a hit"


def check_3(mean_map) -> str | None:
    rng = np.random.default_rng(0)
    layers = [rng.random((2, 8, 8)), rng.random((4, 4, 4)), rng.random((3, 2, 2))]

    def enlarge(m: np.ndarray) -> np.ndarray:
        return m.repeat(8 // m.shape[-1], axis=-2).repeat(8 // m.shape[-1], axis=-1)

    each = [enlarge(maps.mean(0)) for maps in layers]
    got = mean_map([maps.copy() for maps in layers])
    if _same(got, np.sum(each, axis=0)):
        return "the layers are added up: take their mean"
    if _same(got, np.concatenate([enlarge(maps) for maps in layers]).mean(0)):
        return (
            "every head counts the same here, so layers with more heads count more: first the "
            "mean of each layer"
        )
    if _same(got, np.mean([np.tile(m.mean(0), (8 // m.shape[-1],) * 2) for m in layers], axis=0)):
        return "the small maps are tiled side by side: each cell should be repeated in its place"
    return differs(got, np.mean(each, axis=0), "the map")
