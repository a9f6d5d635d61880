"""Maps of words: in a concept's own photos, and in pictures while they were drawn.

Axes: n pictures, t timesteps, g words, y x cells of a map, k tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..attention import aggregate, capture_attention, selection
from ..base import Base
from ..concept import Augmentation, Concept
from ..generation import Generation, generate
from ..training import encode_views
from .intervals import MetricError
from .pointing import overlap

if TYPE_CHECKING:
    from ..personalization import Result, SavedResult

TIMES = (200, 350, 500)  # noise levels at which the maps of photos are read, of 1,000
FUNCTION_WORDS = frozenset(
    "a an and at by for from in is it next of on or over the to top under with".split()
)


@torch.no_grad()
def noised_maps(
    unet,
    scheduler,
    states: Tensor,
    latents: Tensor,
    groups: Sequence[Sequence[int]],
    times: Sequence[int] = TIMES,
    seed: int = 0,
) -> np.ndarray:
    """Where words look in pictures that are there already: noise the latents, and read one step.

    Args:
        states: (1, k, d) text states of one prompt. latents: (n, 4, y, x), scaled.
        groups: g lists of token positions; a group's map is the mean of its pieces'.

    Returns:
        float32 (n, t, g, y, x), averaged over heads and over the layers at the latents' own
        resolution (all layers where none has it).
    """
    generator, height = torch.Generator().manual_seed(seed), latents.shape[-2]
    chosen = selection(states.shape[1], groups)
    aspect = latents.shape[-1] / height
    by_time = []
    for time in times:
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        at = torch.full((len(latents),), time, device=latents.device, dtype=torch.long)
        noisy = scheduler.add_noise(latents, noise, at).to(states.dtype)
        with capture_attention(unet, chosen, grad=False) as capture:
            unet(noisy, at, encoder_hidden_states=states.expand(len(latents), -1, -1))
        try:
            maps = aggregate(capture.layers, resolution=height, aspect=aspect)
        except ValueError:  # no cross-attention at the latents' resolution
            maps = aggregate(capture.layers, size=tuple(latents.shape[-2:]), aspect=aspect)
        by_time.append(maps.cpu())
    return torch.stack(by_time, 1).numpy()


def photo_maps(
    model: Result | SavedResult | Base,
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
    subject = Subject.of(model, concept)
    ids, groups = subject.positions(template)
    states = subject.text_encoder(input_ids=ids[None]).last_hidden_state
    maps = noised_maps(
        subject.unet,
        subject.base.scheduler,
        states,
        subject.latents(),
        list(groups.values()),
        times,
        seed,
    )
    return {name: maps[:, :, k] for k, name in enumerate(groups)}


@dataclass
class Subject:
    """What a personalized model and a base model have in common for the measurements."""

    base: Base
    unet: torch.nn.Module
    tokenizer: object
    text_encoder: torch.nn.Module
    concept: Concept
    words: list[str]  # [V]'s tokens; none for a base model
    says: str  # what ``{}`` becomes
    recipe: str
    model: object

    @classmethod
    def of(cls, model: Result | SavedResult | Base, concept: Concept | None) -> Subject:
        if hasattr(model, "learner"):
            learner, token = model.learner, model.token
            return cls(
                learner.base,
                learner.unet,
                token.tokenizer,
                token.text_encoder,
                concept or learner.concept,
                list(token.words),
                model.subject,
                learner.recipe.name,
                model,
            )
        if concept is None:
            raise MetricError(
                "a base or saved model does not carry the concept's photos: pass concept="
            )
        if hasattr(model, "words"):  # a saved result: its base is the personalized model itself
            parts = model.base
            return cls(
                parts,
                parts.unet,
                parts.tokenizer,
                parts.text_encoder,
                concept,
                list(model.words),
                model.subject,
                model.info.get("recipe", "saved"),
                model,
            )
        return cls(
            model,
            model.unet,
            model.tokenizer,
            model.text_encoder,
            concept,
            [],
            concept.category,
            "base",
            model,
        )

    @property
    def side(self) -> int:
        """Pixels of the model's pictures."""
        return self.base.unet.config.sample_size * 2 ** (
            len(self.base.vae.config.block_out_channels) - 1
        )

    def positions(self, template: str) -> tuple[Tensor, dict[str, list[int]]]:
        """Token ids (k,) of the filled template, and the positions of "v" and "category" in it."""
        text = template.replace("{}", self.says)
        if len(self.words) > 1:
            text = self.model.token.expand(text)
        length = self.tokenizer.model_max_length
        row = self.tokenizer(
            text, padding="max_length", max_length=length, truncation=True
        ).input_ids
        category = self.tokenizer(self.concept.category, add_special_tokens=False).input_ids
        v = (
            [k for k, i in enumerate(row) if i in self.tokenizer.convert_tokens_to_ids(self.words)]
            if self.words
            else []
        )
        starts = [k for k in range(length) if row[k : k + len(category)] == category]
        groups = {"v": v} if v else {}
        if starts:
            groups["category"] = list(range(starts[0], starts[0] + len(category)))
        groups.setdefault("v", groups.get("category", []))
        return torch.tensor(row, device=self.base.device), groups

    def latents(self) -> Tensor:
        """The photos' own latents, (n, 4, y, x): the means of the plain centred views."""
        return encode_views(self.base, self.concept, 1, 0, Augmentation())[0]

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], **call) -> Generation:
        if not self.words:
            prompts = [p.replace("{}", self.says) for p in prompts]
        return generate(self.model, prompts, seeds, **call)


def word_overlaps(
    generation: Generation, v_words: Sequence[str], category: str
) -> dict[str, np.ndarray]:
    """How much [V]'s map during generation is also another word's.

    Returns:
        "overlap_category" and "overlap_others", (n,) each in [0, 1]. Others are the content words
        beside [V] and its category, averaged; NaN where a prompt has none. Low is good for the
        others: a [V] that looks everywhere (Textual Inversion, paper figure 2) takes their place.
    """
    own = set(category.lower().split())
    with_category, with_others = [], []
    for picture, words in enumerate(generation.words):
        maps = generation.maps[picture].mean(0)  # (g, y, x), over the sampling steps
        kind = [
            (
                "v"
                if w in v_words
                else "category"
                if w in own
                else "skip"
                if w in FUNCTION_WORDS
                else "other"
            )
            for w in words
        ]
        chosen = {
            k: [maps[i] for i, what in enumerate(kind) if what == k]
            for k in ("v", "category", "other")
        }
        v = np.mean(chosen["v"] or chosen["category"], axis=0)
        with_category.append(
            overlap(v, np.mean(chosen["category"], axis=0)) if chosen["category"] else np.nan
        )
        with_others.append(
            np.mean([overlap(v, m) for m in chosen["other"]]) if chosen["other"] else np.nan
        )
    return {"overlap_category": np.array(with_category), "overlap_others": np.array(with_others)}
