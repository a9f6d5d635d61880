"""Pictures of text states and noise that are given, where ``generate`` takes a prompt and a seed.

What walks, mixtures and layouts change lies between a prompt and its picture: they change states
and noise, and the model's own pipeline does the rest, so that every family draws as it always does.

Axes: b pictures, k tokens, d channels of a text state, c channels of a latent, y, x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base import Drawable, TextStates
from ..concept_token import check_length
from ..generation import fill, scheduled, to_uint8
from ..sampling import PLAIN, Sampling


def token_ids(model: Drawable, prompt: str) -> tuple[str, Tensor]:
    """A prompt with the concept's word written out, and its token ids (1, k), padded.

    Args:
        prompt: with ``{}`` for a model that has learned a concept, plain for a base model.

    Raises:
        PromptError: not exactly one ``{}``; TokenError: too long for the model.
    """
    text, tokenizer = model.expand(fill(prompt, model.subject)), model.text.tokenizers[0]
    check_length(tokenizer, [text])
    length = tokenizer.model_max_length
    ids = tokenizer(text, padding="max_length", max_length=length, return_tensors="pt").input_ids
    return text, ids.to(model.base.device)


@torch.no_grad()
def text_states(model: Drawable, prompt: str) -> TextStates:
    """What the U-Net reads of a prompt: tokens (1, k, d), and for some models a pooled (1, e).

    Raises:
        PromptError, TokenError: as :func:`token_ids`.
    """
    model.pipeline()  # writes a word that is still in training into its table
    return model.base.encode_prompts(token_ids(model, prompt)[1], model.text)


def noise(model: Drawable, seed: int) -> Tensor:
    """What :func:`adb_core.generate` starts a seed's picture from, (1, c, y, x) of variance 1."""
    config, side = model.unet.config, model.base.latent_side
    generator = torch.Generator().manual_seed(int(seed))
    shape = (1, config.in_channels, side, side)
    return torch.randn(shape, generator=generator, dtype=model.base.dtype).to(model.base.device)


def draw_states(
    model: Drawable,
    states: TextStates,
    latents: Tensor,
    sampling: Sampling = PLAIN,
    each_step: Callable[[Any, int, Tensor], Tensor] | None = None,
    seeds: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw every pair of text states and noise.

    Args:
        states: of b pictures. latents: noise of variance 1, (b, c, y, x).
        sampling: steps, guidance, scheduler; ``batch`` pictures at once. Maps are not recorded.
        each_step: (pipeline, number of the step that follows, latents) -> latents, called before
            every step, the first included.
        seeds: of b pictures, for samplers that add noise in every step: it is then what
            :func:`adb_core.generate` would add for the seed. None is seed 0 for all.

    Returns:
        uint8 (b, h, w, 3).
    """
    sampling = sampling.of(model)
    parts = []
    for start in range(0, len(latents), sampling.batch):
        rows = torch.arange(start, min(start + sampling.batch, len(latents)))
        rows = rows.to(latents.device)
        of_rows = [0 if seeds is None else int(seeds[k]) for k in rows.tolist()]
        fresh = [_after_noise(latents[:1], seed) for seed in of_rows]
        part = (states.pick(rows), latents[rows], fresh)
        parts.append(_draw(model, part, sampling, each_step))
    return np.concatenate(parts)


def _after_noise(like: Tensor, seed: int) -> torch.Generator:
    """A seed's generator, where it is when :func:`noise` has been drawn."""
    generator = torch.Generator().manual_seed(seed)
    torch.randn(like.shape, generator=generator, dtype=like.dtype)
    return generator


def _draw(
    model, part: tuple[TextStates, Tensor, list[torch.Generator]], sampling: Sampling, each_step
) -> np.ndarray:
    """One batch: its states, its noise, and the generators of the noise to come."""
    states, latents, fresh = part
    pipeline = scheduled(model.pipeline(), sampling.scheduler)
    call: dict[str, Any] = {"prompt_embeds": states.tokens}
    if states.pooled is not None:
        call["pooled_prompt_embeds"] = states.pooled
    if each_step is not None:
        pipeline.scheduler.set_timesteps(sampling.steps, device=latents.device)
        # the pipeline multiplies what it is given by the first step's noise level
        level = pipeline.scheduler.init_noise_sigma
        latents = each_step(pipeline, 0, latents * level) / level

        def go_on(pipe, step, timestep, values):
            if step + 1 < sampling.steps:
                values["latents"] = each_step(pipe, step + 1, values["latents"])
            return values

        call["callback_on_step_end"] = go_on
    images = pipeline(
        **call,
        latents=latents,
        generator=fresh,
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance,
        output_type="np",
    ).images
    return to_uint8(images)
