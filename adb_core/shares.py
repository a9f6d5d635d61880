"""How a picture's attention is divided among ALL tokens of its prompt, so that it sums to 1.

A single word's map says where the word is looked at; not whether [V] has taken the attention of the
others. Axes: k tokens, q query pixels, n groups of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .attention import capture_attention
from .generation import PLAIN, Sampling, check, fill, prompt_words, scheduled
from .sampling import settled
from .seam import Drawable

START, END = "start", "end"  # the token before the prompt; the one after it with all padding


def token_groups(tokenizer: Any, prompt: str) -> dict[str, list[int]]:
    """Every token position of a prompt under one name: the start, each word, the end with padding.

    Pieces of one word go together; a word that comes again is numbered: "a", "a (2)".
    """
    groups, used = {START: [0]}, {0}
    for word, positions in prompt_words(tokenizer, prompt):
        number = 1 + sum(name.split(" (")[0] == word for name in groups)
        groups[word if number == 1 else f"{word} ({number})"] = positions
        used.update(positions)
    groups[END] = [k for k in range(tokenizer.model_max_length) if k not in used]
    return groups


def sums(length: int, groups: Mapping[str, Sequence[int]]) -> Tensor:
    """Columns that add the positions of each group, (k, n) float."""
    columns = torch.zeros(length, len(groups))
    for n, positions in enumerate(groups.values()):
        columns[list(positions), n] = 1.0
    return columns


def attention_shares(
    model: Drawable,
    prompt: str,
    seeds: Sequence[int] = (0,),
    sampling: Sampling = PLAIN,
    **changes: Any,
) -> dict[str, float]:
    """The share of attention that each token gets while pictures are drawn; they sum to 1.

    The mean over pictures, sampling steps, layers (each counts the same), heads and pixels, in the
    half of guidance that reads the prompt. Arguments and errors are those of
    :func:`adb_core.generate`.

    Returns:
        token -> share, in the order of the prompt (see :func:`token_groups`).
    """
    sampling = replace(sampling, **changes)
    steps, guidance = settled(model, sampling.steps, sampling.guidance)
    text = fill(prompt, model.subject)
    pipeline = scheduled(model.pipeline(), sampling.scheduler)
    check(model, pipeline, [text], steps)
    groups = token_groups(pipeline.tokenizer, model.expand(text))
    columns = sums(pipeline.tokenizer.model_max_length, groups)
    shares: list[Tensor] = []  # (n,) of each picture and step
    half = guidance > 1
    with capture_attention(pipeline.unet, columns, grad=False, conditional_half=half) as capture:

        def keep(pipe, step, timestep, values):
            each = [layer.float().mean((0, 1, 2)) for layer in capture.layers.values()]  # (n,)
            shares.append(torch.stack(each).mean(0).cpu())
            return values

        for seed in seeds:
            pipeline(
                text,
                num_inference_steps=steps,
                guidance_scale=guidance,
                output_type="latent",
                callback_on_step_end=keep,
                generator=torch.Generator().manual_seed(int(seed)),
            )
    mean = torch.stack(shares).mean(0)
    return dict(zip(groups, mean.tolist(), strict=True))
