"""Cross-frame attention: all frames read the keys and values of the first one's self-attention.

What a picture looks like is passed around in its self-attention (``attn1``). Frames that all read
the first frame's keys and values there take its colors and its subject over, without any training
(Text2Video-Zero, Khachatryan et al. 2023, arXiv 2303.13439, section 3.2). Cross-attention
(``attn2``) is as it was, so every frame still follows its own prompt, and its maps can be captured.

Axes: n rows of a batch, f frames of one clip, q query pixels, c channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

SELF = "attn1"  # diffusers' name for the self-attention of a transformer block


def first_of_each(hidden: Tensor, frames: int) -> Tensor:
    """Every row replaced by the first row of its clip: (n, q, c), clips of ``frames`` rows."""
    clips = hidden.unflatten(0, (-1, frames))  # (n / f, f, q, c)
    return clips[:, :1].expand_as(clips).flatten(0, 1)  # (n, q, c)


class _FirstFrameProcessor:
    """Whatever computed the attention before, given the first frame as what is looked at.

    A processor takes keys and values from ``encoder_hidden_states``. Self-attention has none, and
    takes them from the picture itself: to put the first frame there is all there is to do.
    """

    def __init__(self, inner: Any, frames: int, halves: int):
        self.inner, self.frames, self.halves = inner, frames, halves

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        # Under guidance the rows are [without the prompt, with it], f each: clips end at the seam.
        if len(hidden_states) % (self.frames * self.halves):
            raise ValueError(
                f"{len(hidden_states)} rows are not clips of {self.frames} frames"
                f"{' in both halves of guidance' if self.halves > 1 else ''}: "
                "draw all frames in one batch, and say whether guidance is on (guided=)"
            )
        if encoder_hidden_states is None:
            encoder_hidden_states = first_of_each(hidden_states, self.frames)
        return self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


@contextmanager
def share_first_frame(unet: Any, frames: int, *, guided: bool) -> Iterator[None]:
    """Within, rows of a batch are clips whose frames read their first one's self-attention.

    Args:
        unet: any ``UNet2DConditionModel``; it has its processors back afterwards, whatever happens.
        frames: of one clip; a batch may hold several clips, one behind the other.
        guided: whether the pipeline runs with classifier-free guidance, which doubles the batch:
            the half without the prompt and the half with it each read their own first frame.

    Raises:
        ValueError: fewer than two frames, or no self-attention; within, a batch of other clips.
    """
    if frames < 2:
        raise ValueError(f"frames share nothing with fewer than two of them, got {frames}")
    modules = [m for name, m in unet.named_modules() if name.rsplit(".", 1)[-1] == SELF]
    if not modules:
        raise ValueError(f"this U-Net has no self-attention ({SELF}) whose keys could be shared")
    saved = [module.processor for module in modules]
    try:
        for module, inner in zip(modules, saved, strict=True):
            module.set_processor(_FirstFrameProcessor(inner, frames, 1 + guided))
        yield
    finally:
        for module, inner in zip(modules, saved, strict=True):
            module.set_processor(inner)
