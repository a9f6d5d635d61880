"""Reading cross-attention: which pixels look at which words, without changing what the U-Net does.

``capture_attention`` is a context manager over any ``UNet2DConditionModel``. Inside it, every
forward pass leaves the attention probabilities of the chosen tokens in ``capture.layers``;
afterwards the U-Net has the processors it had before, whatever happened.

Two paths give the same numbers (tests hold outputs and gradients equal):

- ``"oracle"``  explicit softmax(q k^T scale) v: every line of the textbook, all columns in memory.
- ``"fused"``   the chosen columns ride along as extra channels of v. Attention computes P v; with
  one-hot channels S appended, P [v, S] = [P v, P S], and P S are exactly the wanted columns.
  The kernel stays fused and only the wanted columns ever exist.

Axes: b batch, h heads, q query pixels, k tokens, c channels per head, n chosen tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CROSS = "attn2.processor"  # diffusers' name for the cross-attention processor of a block
PATHS = ("oracle", "fused")


# ---------------------------------------------------------------- which columns


def selection(length: int, groups: Sequence[Sequence[int]]) -> Tensor:
    """One-hot columns of token groups: (k, n) float.

    A group of several positions (a category of several pieces) becomes their mean, so a captured
    map is the mean of the pieces' maps.

    Raises:
        ValueError: an empty group or a position outside the prompt.
    """
    s = torch.zeros(length, len(groups))
    for column, positions in enumerate(groups):
        if not positions:
            raise ValueError(f"token group {column} is empty: name at least one position")
        for position in positions:
            if not 0 <= position < length:
                raise ValueError(
                    f"token position {position} is outside the prompt of {length} tokens"
                )
            s[position, column] += 1.0 / len(positions)
    return s


def _as_selection(tokens: Tensor | Sequence[int]) -> Tensor:
    """Positions (n,) stay positions; a float tensor (k, n) or (b, k, n) is a selection already."""
    return tokens if isinstance(tokens, Tensor) else torch.as_tensor(list(tokens), dtype=torch.long)


# ---------------------------------------------------------------- the two paths


def oracle_attention(
    q: Tensor, k: Tensor, v: Tensor, s: Tensor, scale: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention as in the textbook.

    Args:
        q: (b, h, q, c); k, v: (b, h, k, c); s: (b, 1, k, n) selection; mask: added to the logits.

    Returns:
        out (b, h, q, c) and the chosen columns (b, h, q, n).
    """
    logits = scale * (q @ k.transpose(-1, -2))  # (b, h, q, k)
    if mask is not None:
        logits = logits + mask
    probs = logits.float().softmax(-1).to(v.dtype)
    return probs @ v, probs @ s.to(v.dtype)


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, s: Tensor, scale: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same through ``scaled_dot_product_attention``: the columns are extra channels of v."""
    b, h, _, c = v.shape
    n = s.shape[-1]
    extra = -(-n // 8) * 8  # kernels want channels in multiples of eight
    ones = F.pad(s.to(v.dtype), (0, extra - n)).expand(b, h, -1, -1)  # (b, h, k, extra)
    wide = torch.cat([v, ones], -1)  # (b, h, k, c + extra)
    if q.is_cuda:  # flash kernels want equal head widths: zero channels change no logit
        q, k = F.pad(q, (0, extra)), F.pad(k, (0, extra))
    out = F.scaled_dot_product_attention(q, k, wide, attn_mask=mask, scale=scale)
    return out[..., :c], out[..., c : c + n]


KERNELS: dict[str, Callable] = {"oracle": oracle_attention, "fused": fused_attention}


class _CaptureProcessor:
    """diffusers' cross-attention processor, computed by one of the two paths."""

    def __init__(self, capture: AttentionCapture, name: str):
        self.capture, self.name = capture, name

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        residual, shape = hidden_states, hidden_states.shape
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        if hidden_states.ndim == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)  # (b, c, y, x) -> (b, q, c)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attn.norm_cross and encoder_hidden_states is not None:
            text = attn.norm_encoder_hidden_states(text)

        def split(x: Tensor) -> Tensor:  # (b, ., h*c) -> (b, h, ., c)
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        q, k, v = split(attn.to_q(hidden_states)), split(attn.to_k(text)), split(attn.to_v(text))
        if getattr(attn, "norm_q", None) is not None:
            q = attn.norm_q(q)
        if getattr(attn, "norm_k", None) is not None:
            k = attn.norm_k(k)
        scale = attn.scale if attn.scale_qk else 1.0
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(
                attention_mask, text.shape[1], text.shape[0]
            )
            attention_mask = attention_mask.unflatten(0, (-1, attn.heads))
        s = self.capture.selection_for(text)
        out, columns = KERNELS[self.capture.path](q, k, v, s, scale, attention_mask)
        self.capture.keep(self.name, columns)
        out = out.transpose(1, 2).flatten(2).to(q.dtype)  # (b, q, h*c)
        out = attn.to_out[1](attn.to_out[0](out))
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor


# ---------------------------------------------------------------- the context manager


def cross_attention_layers(unet: Any) -> dict[str, Any]:
    """The cross-attention modules by the names of their processors, in the U-Net's own order.

    The same as the cross-attention part of ``unet.attn_processors``, found in one walk over the
    modules: diffusers takes several a call, which a training step of a small model feels.
    """
    return {
        f"{name}.processor": module
        for name, module in unet.named_modules()
        if f"{name}.processor".endswith(CROSS)
    }


def default_path(device: torch.device) -> str:
    """The path used if none is asked for: "oracle" on the CPU, "fused" elsewhere.

    Measured by ``benchmarks/attention_paths.py`` (x86-64, 2 threads, float32), time relative to no
    capture, forward / forward and backward: tiny model oracle 1.11 / 1.04, fused 1.16 / 1.09;
    reduced SD at 64x64 latents both within 5 % of none. On other devices the fused path is
    preferred because it never holds all columns of all heads.
    """
    return "oracle" if device.type == "cpu" else "fused"


@dataclass
class AttentionCapture:
    """What one forward pass of the U-Net left behind.

    Attributes:
        layers: layer name -> (b, h, q, n) probabilities of the n chosen tokens. Emptied at the
            start of every forward pass of the U-Net.
    """

    tokens: Tensor
    path: str
    grad: bool = True
    conditional_half: bool = False
    layers: dict[str, Tensor] = field(default_factory=dict)

    def selection_for(self, text: Tensor) -> Tensor:
        """The selection as (b or 1, 1, k, n) on the text's device."""
        s = self.tokens
        if not s.is_floating_point():
            s = F.one_hot(s, text.shape[1]).transpose(-1, -2).float()  # (..., n) -> (..., k, n)
        if s.ndim == 2:
            s = s[None]
        if s.shape[1] != text.shape[1]:
            raise ValueError(
                f"the selection is for {s.shape[1]} tokens but the text has {text.shape[1]}"
            )
        if self.conditional_half and s.shape[0] > 1:
            s = torch.cat([s, s])  # the unconditional half is read with it and dropped by keep()
        return s[:, None].to(text.device)

    def keep(self, name: str, columns: Tensor) -> None:
        # Under gradient checkpointing the layer runs again in backward: the first pass is the one.
        if name in self.layers:
            return
        if self.conditional_half:
            columns = columns[columns.shape[0] // 2 :]
        self.layers[name] = columns if self.grad else columns.detach()

    def maps(self, token: int) -> list[Tensor]:
        """The maps of one chosen token, (b, h, q) for each layer."""
        return [columns[..., token] for columns in self.layers.values()]


class capture_attention:
    """Read the cross-attention of chosen tokens while the U-Net runs.

    Args:
        unet: any ``UNet2DConditionModel``.
        tokens: positions, (n,) or (b, n) integers; or a selection, (k, n) or (b, k, n) floats
            (see :func:`selection`).
        layers: None for every cross-attention layer, else a predicate over their names.
        grad: whether gradient flows through the captured maps.
        path: "oracle", "fused" or None for the device's default.
        conditional_half: keep the second half of the batch only (classifier-free guidance).

    Raises:
        ValueError: no layer matches, or an unknown path.

    Example::

        with capture_attention(unet, [5, 6]) as capture:
            unet(latents, t, encoder_hidden_states=text)
        maps = capture.layers  # name -> (b, h, q, 2)
    """

    def __init__(
        self,
        unet,
        tokens: Tensor | Sequence[int],
        *,
        layers: Callable[[str], bool] | None = None,
        grad: bool = True,
        path: str | None = None,
        conditional_half: bool = False,
    ):
        self.unet, present = unet, cross_attention_layers(unet)
        self.modules = {
            name: module for name, module in present.items() if layers is None or layers(name)
        }
        if not self.modules:
            raise ValueError(
                "no cross-attention layer matches: this U-Net has "
                + (", ".join(present) or "none at all")
            )
        path = path or default_path(next(unet.parameters()).device)
        if path not in PATHS:
            raise ValueError(f"unknown path {path!r}: choose {' or '.join(map(repr, PATHS))}")
        self.capture = AttentionCapture(_as_selection(tokens), path, grad, conditional_half)

    def __enter__(self) -> AttentionCapture:
        self.saved = {name: module.processor for name, module in self.modules.items()}
        # A fresh dict, not a cleared one: a caller may still hold the last pass's maps.
        self.hook = self.unet.register_forward_pre_hook(
            lambda *_: setattr(self.capture, "layers", {})
        )
        for name, module in self.modules.items():
            module.set_processor(_CaptureProcessor(self.capture, name))
        return self.capture

    def __exit__(self, *_) -> None:
        self.hook.remove()
        for name, module in self.modules.items():
            module.set_processor(self.saved[name])
