"""Losses that look at the words around [V], or at its keys: CoRe's two terms, and TARA's.

CoRe (Wu et al., AAAI 2025, arXiv 2408.15914) asks that [V] leaves its context alone: in a random
prompt, the other words shall have the states, and the attention, that they have when the category
stands in [V]'s place. The paper's formulas and the released code's differ; both are here.

Axes: b batch, h heads, q query pixels, k tokens, d channels, L layers, n tokens of the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import capture_attention, cross_attention_layers, selection
from .base import TextStates
from .engine import TrainingError
from .learner import Learner
from .passes import Forward

# CoRe draws from 100 prompts of its own; these are ours, in words that the tiny model knows too.
OPENINGS = ("a photo of a {}", "a sketch of a {}", "a painting of a {}", "a nice photo of a {}")
SCENES = ("", " on the beach", " in the snow", " in the forest", " in the city", " on the moon")
CONTEXTS = tuple(opening + scene for opening in OPENINGS for scene in SCENES)


# ---------------------------------------------------------------- CoRe: the states of the context


def context_embedding(ours: Tensor, theirs: Tensor) -> Tensor:
    """1 - cosine of each context word's two states, averaged over words (CoRe, equation 4).

    Args:
        ours, theirs: (n, d) states of the words around [V], and around the category.
    """
    return (1 - F.cosine_similarity(ours, theirs, dim=-1)).mean()


def context_embedding_code(ours: Tensor, theirs: Tensor) -> Tensor:
    """The same as released: a cosine across the words for each channel, averaged over channels."""
    return (1 - F.cosine_similarity(ours, theirs, dim=0)).mean()


# ---------------------------------------------------------------- CoRe: the attention on it


def context_attention(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Squared difference of the context words' mean attention (CoRe, equation 5).

    The mean is over heads, pixels and all layers; then squares, averaged over words and the batch.

    Args:
        ours, theirs: a layer each, (b, h, q, n) maps of the words around [V], and the category.
    """
    a, b = (torch.stack([m.float().mean((1, 2)) for m in side]) for side in (ours, theirs))
    return (a.mean(0) - b.mean(0)).square().mean()  # (L, b, n) -> (b, n) -> scalar


def context_attention_code(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """The same as released: squares layer by layer, averaged over words, SUMMED over the batch."""
    a, b = (torch.stack([m.float().mean((1, 2)) for m in side]) for side in (ours, theirs))
    return (a - b).square().mean(-1).sum(1).mean()  # (L, b, n) -> (L, b) -> (L,) -> scalar


# ---------------------------------------------------------------- what CoRe compares


class Context(NamedTuple):
    """One prompt with a word in the middle: its states, and where its other words stand."""

    states: TextStates
    others: list[int]


def contexts(learner: Learner, lot: int) -> tuple[Context, Context]:
    """A prompt with [V], and the same with the category, in which the other words are the same.

    Args:
        lot: a random number; it chooses the prompt.
    """
    token, template = learner.token, CONTEXTS[lot % len(CONTEXTS)]
    texts = [template.format(token.placeholder), template.format(token.category)]
    ids = token.tokenize(texts)  # (2, k)
    end = token.tokenizer.eos_token_id
    own = [set(token.own_positions(ids[0])), _run(ids[1].tolist(), token.category_ids)]
    found = []
    for row, inside in zip(ids, own, strict=True):
        last = row.tolist().index(end)  # padding behind the end is no word
        others = [k for k in range(last + 1) if k not in inside]
        found.append(Context(token.states(row[None]), others))
    return found[0], found[1]


def _run(row: list[int], pieces: list[int]) -> set[int]:
    """Where a word's pieces stand in a row that holds them."""
    n = len(pieces)
    start = next(k for k in range(len(row)) if row[k : k + n] == pieces)
    return set(range(start, start + n))


def context_states(passed: Forward) -> tuple[Tensor, Tensor]:
    """States (n, d) of the words around [V] and of those around the category."""
    assert passed.learner is not None
    with passed.learner.accelerator.autocast():
        pair = contexts(passed.learner, passed.batch.lot)
    ours, theirs = (context.states.tokens[0, context.others].float() for context in pair)
    return ours, theirs


def context_maps(passed: Forward) -> tuple[list[Tensor], list[Tensor]]:
    """The maps of the same words, (b, h, q, n) a layer, in two more passes over the batch.

    Raises:
        TrainingError: under gradient checkpointing, which would run them again unread.
    """
    learner, batch = passed.learner, passed.batch
    assert learner is not None
    if learner.options.gradient_checkpointing:
        raise TrainingError(
            "CoRe's attention term reads two passes more, which gradient checkpointing loses: "
            "train without it, or with another recipe"
        )
    noisy = learner.base.scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    noisy = noisy.to(learner.base.dtype)
    maps = []
    with learner.accelerator.autocast():
        for context in contexts(learner, batch.lot):
            columns = selection(context.states.tokens.shape[1], [[k] for k in context.others])
            states = context.states.repeat(len(batch.rows))
            path = learner.options.path
            with capture_attention(learner.unet, columns.to(noisy.device), path=path) as capture:
                learner.base.predict(learner.unet, noisy, batch.timesteps, states)
            maps.append(list(capture.layers.values()))
    return maps[0], maps[1]


def core_embedding(passed: Forward) -> Tensor:
    """:func:`context_embedding` of a random prompt; the weight is ``Stage.core_embedding``."""
    return context_embedding(*context_states(passed))


def core_embedding_code(passed: Forward) -> Tensor:
    """:func:`context_embedding_code`; the weight is ``Stage.core_embedding_code``."""
    return context_embedding_code(*context_states(passed))


def core_attention(passed: Forward) -> Tensor:
    """:func:`context_attention` of a random prompt; the weight is ``Stage.core_attention``."""
    return context_attention(*context_maps(passed))


def core_attention_code(passed: Forward) -> Tensor:
    """:func:`context_attention_code`; the weight is ``Stage.core_attention_code``."""
    return context_attention_code(*context_maps(passed))


# ---------------------------------------------------------------- TARA: the keys


def key_distance(keys: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Mean |K_V - K_cat| over channels, vectors and batch, averaged over layers; a scalar.

    mean |(W_K + dW_K) h_V - W_K h_cat| of TARA (AAAI 2026, arXiv 2508.08812), as its code has it.

    Args:
        keys: a layer each, (..., c) of [V]. targets: a layer each, (c,), of the category in the
            untrained model.
    """
    apart = [(k.float() - t.float()).abs().mean() for k, t in zip(keys, targets, strict=True)]
    return torch.stack(apart).mean()


def key_lock(passed: Forward) -> Tensor:
    """:func:`key_distance` of a pass; the weight is ``Stage.key_lock``.

    Of several vectors the mean key counts: keys are linear, so it is the mean state's.
    """
    learner, states, selected = passed.learner, passed.states, passed.selection
    assert learner is not None and states is not None and selected is not None
    v = selected[..., :1].to(states.tokens)  # (b or 1, k, 1)
    own = (v * states.tokens).sum(1)  # (b, d)
    with learner.accelerator.autocast():
        keys = [module.to_k(own) for module in cross_attention_layers(learner.unet).values()]
    return key_distance(keys, learner.category_keys)  # (b, c) each
