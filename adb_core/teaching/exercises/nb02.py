"""Checks of notebook 02, and the questions at its end."""

from __future__ import annotations

import numpy as np
import torch

from ..quizzes import Question
from . import differs

QUIZ = (
    Question(
        "The attention that one pixel gives to all tokens sums to",
        ("1", "the number of tokens", "anything"),
        "1",
        "It is a softmax over tokens: what one gets, the others do not.",
    ),
    Question(
        "Columns of the probabilities read through a fused kernel are",
        ("an approximation", "equal up to rounding", "a mean over heads"),
        "equal up to rounding",
        "Attention is linear in the values, so an extra value column reads a probability.",
    ),
    Question(
        "What does guidance do to the maps of one step?",
        ("It sharpens them", "It averages two halves", "Nothing"),
        "Nothing",
        "Each of the two questions has its own maps; guidance mixes their answers.",
    ),
    Question(
        "A map of 'beach' points right in 9 of 10 pictures. What is to be asked first?",
        ("What chance gives", "Which head it is", "How large the map is"),
        "What chance gives",
        "Most cells are beach.",
    ),
    Question(
        "The map of 'hat' peaks on the head. So there is a hat.",
        ("True", "False"),
        "False",
        "It peaks on bare heads too: a map says where the word would act.",
    ),
)


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


def check_2(map_iou) -> str | None:
    rng = np.random.default_rng(1)
    word_map, on = rng.random((6, 6)) ** 3, np.zeros((6, 6), dtype=bool)
    on[1:4, 2:5] = True
    word_map[on] += 0.4

    def union(bright):
        return (bright & on).sum() / (bright | on).sum()

    bright = word_map > word_map.mean() + word_map.std()
    got = map_iou(word_map.copy(), on.copy())
    if np.ndim(got) != 0:
        return "it should return one number"
    for mistake, said in (
        (union(word_map > word_map.mean()), "the standard deviation is missing in the threshold"),
        (union(word_map > word_map.std()), "the mean is missing in the threshold"),
        ((bright & on).sum(), "that is the intersection: divide it by the union"),
        ((bright & on).sum() / on.sum(), "it divides by the thing's cells: divide by the union"),
        ((bright & on).sum() / bright.sum(), "it divides by the bright cells: divide by the union"),
        ((bright & on).sum() / (bright.sum() + on.sum()), "the union counts shared cells once"),
    ):
        if got is not ... and got is not None and _same(got, mistake):
            return said
    return differs(got, union(bright), "the IoU")


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


def check_4(streamed_map) -> str | None:
    rng = np.random.default_rng(3)
    keys, cuts = rng.normal(size=(9, 4)), (0, 3, 4, 9)

    def blocks():
        yield from (keys[a:b] for a, b in zip(cuts, cuts[1:], strict=False))

    def probabilities(scores):
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    for scale in (1.0, 3000.0):
        q = scale * rng.normal(size=(5, 4))
        scores = q @ keys.T / 2  # (pixels, tokens)
        for position in (0, 3, 7):
            got = streamed_map(q.copy(), blocks(), position)
            wanted = probabilities(scores)[:, position]
            if differs(got, wanted) is None:
                continue
            if isinstance(got, np.ndarray) and not np.isfinite(got).all():
                return "it gave no finite number for large scores: take the largest out first"
            if _same(got, probabilities(2 * scores)[:, position]):
                return "the scores are not divided by the square root of d"
            start = max(cut for cut in cuts if cut <= position)
            own = scores[:, start : cuts[cuts.index(start) + 1]]
            if _same(got, probabilities(own)[:, position - start]):
                return "every block is normalized alone: the sum runs over all blocks"
            return differs(got, wanted, f"the map of token {position}")
    return None
