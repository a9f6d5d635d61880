"""Where each word looks: cross-attention probabilities of a U-Net, read plainly.

The slow, readable way (explicit softmax), used only to evaluate the tiny model.
Axes: b batch, h heads, q query pixels, k tokens, c channels.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch


class ProbabilityReader:
    """Attention processor that computes softmax(q k^T / sqrt(c)) v and keeps the probabilities."""

    def __init__(self, store: dict[str, torch.Tensor], name: str) -> None:
        self.store, self.name = store, name

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        b = hidden_states.shape[0]
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (b, q, h*c) -> (b*h, q, c)
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))  # (b*h, k, c)
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))  # (b*h, k, c)
        probs = attn.get_attention_scores(query, key, attention_mask)  # (b*h, q, k), rows sum to 1
        self.store[self.name] = probs.unflatten(0, (b, attn.heads)).mean(
            1
        )  # mean over heads: (b, q, k)
        out = attn.batch_to_head_dim(probs @ value)  # (b, q, h*c)
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor


@contextmanager
def reading_probabilities(unet):
    """Within, every cross-attention layer writes its head mean (b, q, k) into the yielded dict.

    The processors that were there come back afterwards, whatever happens inside.
    """
    saved, store = dict(unet.attn_processors), {}
    readers = {
        name: ProbabilityReader(store, name) if name.endswith("attn2.processor") else processor
        for name, processor in saved.items()
    }
    try:
        unet.set_attn_processor(readers)
        yield store
    finally:
        unet.set_attn_processor(dict(saved))  # a copy: set_attn_processor empties what it is given


@torch.no_grad()
def word_maps(
    unet, text_states: torch.Tensor, latents_noisy: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Maps of every token, averaged over heads and over the layers at the latents' own resolution.

    Args:
        text_states: (b, k, c) last hidden states of the text encoder.
        latents_noisy: (b, 4, 16, 16); timesteps: (b,) int64.

    Returns:
        (b, k, 16, 16) probabilities; over k they sum to 1 at every pixel.

    Raises:
        ValueError: the U-Net has no cross-attention at that resolution.
    """
    height, width = latents_noisy.shape[-2:]
    with reading_probabilities(unet) as store:
        unet(latents_noisy, timesteps, encoder_hidden_states=text_states)
    layers = [probs for probs in store.values() if probs.shape[1] == height * width]
    if not layers:
        raise ValueError(f"this U-Net has no cross-attention layer at {height}x{width}")
    maps = torch.stack(layers).mean(0)  # (b, q, k)
    return maps.transpose(1, 2).unflatten(2, (height, width))  # (b, k, height, width)
