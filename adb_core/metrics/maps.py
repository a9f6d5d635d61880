"""Maps of words: in a concept's own photos, and in pictures while they were drawn.

Axes: n pictures, t timesteps, g words, y x cells of a map, k tokens, d channels of a text state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attention import capture_attention, selection
from ..base import Base, Drawable, TextStates
from ..concept import Concept
from ..generation import Generation
from ..images import PLAIN as CENTERED
from ..learner import encode_views
from ..maps import aggregate
from .intervals import MetricError
from .pointing import overlap

TIMES = (200, 350, 500)  # noise levels at which the maps of photos are read, of 1,000
FUNCTION_WORDS = frozenset(
    "a an and at by for from in is it next of on or over the to top under with".split()
)


@torch.no_grad()
def noised_maps(
    base: Base,
    states: TextStates,
    latents: Tensor,
    groups: Sequence[Sequence[int]],
    *,
    unet: Any = None,
    times: Sequence[int] = TIMES,
    seed: int = 0,
) -> np.ndarray:
    """Where words look in pictures that are there already: noise the latents, and read one step.

    Args:
        states: of one prompt, tokens (1, k, d). latents: (n, c, y, x), scaled.
        groups: g lists of token positions; a group's map is the mean of its pieces'.
        unet: None is the base model's own.

    Returns:
        float32 (n, t, g, y, x), averaged over heads and over the layers at the latents' own
        resolution (all layers where none has it).
    """
    unet = base.unet if unet is None else unet
    generator, (height, width) = torch.Generator().manual_seed(seed), latents.shape[-2:]
    chosen = selection(states.tokens.shape[1], groups)  # (k, g)
    repeated = states.repeat(len(latents))
    by_time = []
    for time in times:
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        at = torch.full((len(latents),), time, device=latents.device, dtype=torch.long)
        noisy = base.scheduler.add_noise(latents, noise, at).to(states.tokens.dtype)
        with capture_attention(unet, chosen, grad=False) as capture:
            base.predict(unet, noisy, at, repeated)
        try:
            maps = aggregate(capture.layers, resolution=height, aspect=width / height)
        except ValueError:  # no cross-attention at the latents' resolution
            maps = aggregate(capture.layers, size=(height, width), aspect=width / height)
        by_time.append(maps.cpu())  # (n, g, y, x)
    return torch.stack(by_time, 1).numpy()


@torch.no_grad()
def photo_maps(
    model: Drawable,
    concept: Concept,
    *,
    template: str = "a photo of a {}",
    times: Sequence[int] = TIMES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Maps of [V] and, where the prompt names it, of the category in the concept's own photos.

    Returns:
        {"v": (n, t, y, x), "category": (n, t, y, x)}. A base model has no [V]: its "v" is the
        category's map.
    """
    base = model.base
    ids, groups = _positions(model, concept, template)
    states = base.encode_prompts(ids[None], model.text)
    latents = encode_views(base, concept, 1, 0, CENTERED).mean  # one view of each photo
    positions = list(groups.values())
    maps = noised_maps(base, states, latents, positions, unet=model.unet, times=times, seed=seed)
    return {name: maps[:, :, k] for k, name in enumerate(groups)}


def _positions(
    model: Drawable, concept: Concept, template: str
) -> tuple[Tensor, dict[str, list[int]]]:
    """Token ids (k,) of the filled template, and the positions of "v" and "category" in it."""
    tokenizer = model.text.tokenizers[0]
    subject = concept.category if model.subject is None else model.subject
    length = tokenizer.model_max_length
    row = tokenizer(
        model.expand(template.replace("{}", subject)),
        padding="max_length",
        max_length=length,
        truncation=True,
    ).input_ids
    category = tokenizer(concept.category, add_special_tokens=False).input_ids
    words = tokenizer.convert_tokens_to_ids(list(model.words))
    v = [k for k, token in enumerate(row) if token in words]
    starts = [k for k in range(length) if row[k : k + len(category)] == category]
    groups = {"v": v} if v else {}
    if starts:
        groups["category"] = list(range(starts[0], starts[0] + len(category)))
    groups.setdefault("v", groups.get("category", []))
    return torch.tensor(row, device=model.base.device), groups


def word_overlaps(
    generation: Generation, v_words: Sequence[str], category: str
) -> dict[str, np.ndarray]:
    """How much [V]'s map during generation is also another word's.

    Returns:
        "overlap_category" and "overlap_others", (n,) each in [0, 1]. Others are the content words
        beside [V] and its category, averaged; NaN where a prompt has none. Low is good for the
        others: a [V] that looks everywhere (Textual Inversion, paper figure 2) takes their place.

    Raises:
        MetricError: the pictures were generated without ``maps=True``.
    """
    if generation.maps is None:
        raise MetricError("these pictures have no maps: generate them with maps=True")
    own = set(category.lower().split())

    def kind(word: str) -> str:
        if word in v_words:
            return "v"
        return "category" if word in own else "skip" if word in FUNCTION_WORDS else "other"

    with_category, with_others = [], []
    for picture, words in enumerate(generation.words):
        maps = generation.maps[picture].mean(0)  # (g, y, x), over the sampling steps
        by_kind: dict[str, list[np.ndarray]] = {"v": [], "category": [], "skip": [], "other": []}
        for word, heat in zip(words, maps, strict=False):  # shorter prompts have empty maps behind
            by_kind[kind(word)].append(heat)
        others, named = by_kind["other"], by_kind["category"]
        v = np.mean(by_kind["v"] or named, axis=0)
        with_category.append(overlap(v, np.mean(named, axis=0)) if named else np.nan)
        with_others.append(np.mean([overlap(v, m) for m in others]) if others else np.nan)
    return {"overlap_category": np.array(with_category), "overlap_others": np.array(with_others)}
