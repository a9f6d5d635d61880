"""Attention that trains quickly on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class PlainAttention:
    """softmax(q k^T / sqrt(d)) v, written out; ``AttnProcessor2_0`` computes it in one kernel.

    Axes: b batch, q query pixels, k tokens, c channels, d channels of a head.
    """

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ) -> Tensor:
        """``hidden_states`` (b, q, c), words (b, k, c) or None for self-attention, to (b, q, c)."""
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (  # each (b, heads, q or k, d)
            layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, words), (attn.to_v, words))
        )
        # Outside autocast, which would do the softmax of (b, heads, q, k) in float32.
        with torch.autocast(q.device.type, enabled=False):
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (b, heads, q, k)
            weights = torch.softmax(scores, dim=-1)
            out = (weights @ v).transpose(1, 2).flatten(2)  # (b, q, heads * d)
        return attn.to_out[0](out)


@contextmanager
def fast_attention(unet: nn.Module) -> Iterator[None]:
    """Train with :class:`PlainAttention`; the old processors are back afterwards."""
    before = dict(unet.attn_processors)
    unet.set_attn_processor(PlainAttention())
    try:
        yield
    finally:
        unet.set_attn_processor(before)
