"""Every map of every step, kept while one picture is drawn, for looking at.

Axes: t sampling steps, q query pixels, n tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .attention import AttentionCapture, capture_attention, selection
from .base import Drawable
from .generation import PromptError, check, fill, to_uint8, word_groups
from .maps import grid_size, upsample
from .sampling import settled
from .shares import sums, token_groups, token_pieces


@dataclass(frozen=True)
class Recording:
    """One picture and every cross-attention map of the words that made it.

    Attributes:
        image: uint8 (h, w, 3), RGB; prompt: names the concept by its placeholder; words: of the
            maps' last axis.
        layers: layer name -> float16 (t, heads, y, x, n), every sampling step and head.
        pieces: every token of the prompt, by name, with the pieces that it was split into.
        shares: token -> its share of all attention; they sum to 1 (see ``shares.py``).
    """

    image: np.ndarray
    prompt: str
    words: tuple[str, ...]
    layers: dict[str, np.ndarray]
    pieces: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return next(iter(self.layers.values())).shape[0]

    def map(
        self,
        word: str,
        *,
        layer: str | None = None,
        step: int | None = None,
        head: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """One map, float32 (y, x): of one layer, step and head, or the mean over those left out.

        Args:
            step: counted from 0; size: (height, width), by default the largest map's own.

        Raises:
            PromptError: no such word, layer, step or head; the message lists what there is.
        """
        self._check(word, layer, step)
        used = self.layers if layer is None else {layer: self.layers[layer]}
        times = slice(None) if step is None else slice(step, step + 1)
        token = self.words.index(word)
        picked = [
            maps[times, ..., token].astype(np.float32).mean(0) for maps in used.values()
        ]  # (h, y, x) each
        if head is not None and not all(0 <= head < len(maps) for maps in picked):
            raise PromptError(
                f"not every layer has a head {head}: choose from 0 to {min(map(len, picked)) - 1}"
            )
        size = size or max(maps.shape[1:] for maps in picked)
        means = [maps.mean(0) if head is None else maps[head] for maps in picked]  # (y, x) each
        return torch.stack([upsample(torch.from_numpy(m), size) for m in means]).mean(0).numpy()

    def _check(self, word: str, layer: str | None, step: int | None) -> None:
        if word not in self.words:
            raise PromptError(
                f"the prompt has no word {word!r}: choose from {', '.join(self.words)}"
            )
        if layer is not None and layer not in self.layers:
            raise PromptError(f"there is no layer {layer!r}: choose from {', '.join(self.layers)}")
        if step is not None and not 0 <= step < self.steps:
            raise PromptError(
                f"there is no sampling step {step}: choose from 0 to {self.steps - 1}"
            )


def record(
    model: Drawable,
    prompt: str,
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    words: Sequence[str] | None = None,
) -> Recording:
    """Draw one picture and keep the maps of its words in every layer, head and sampling step.

    Args:
        steps, guidance: None is what suits the model, by the table in ``models.py``.

    Raises:
        PromptError: as :func:`adb_core.generate`.
    """
    steps, guidance = settled(model, steps, guidance)
    text = fill(prompt, model.subject)
    pipeline = model.pipeline()
    check(model, pipeline, [text], steps)
    # the pipeline writes out the vectors of a word itself; positions are those of the result
    tokenizer, expanded = pipeline.tokenizer, model.expand(text)
    names, groups = word_groups(tokenizer, expanded, words)
    length, every, n = tokenizer.model_max_length, token_groups(tokenizer, expanded), len(groups)
    columns = torch.cat([selection(length, groups), sums(length, every)], 1)  # (k, n + all)
    kept: dict[str, list[np.ndarray]] = {}
    shares: list[torch.Tensor] = []  # (all,) of each layer and step
    with capture_attention(
        pipeline.unet, columns, grad=False, conditional_half=guidance > 1
    ) as capture:
        images = pipeline(
            text,
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="np",
            callback_on_step_end=_keeper(capture, n, kept, shares),
            generator=torch.Generator().manual_seed(int(seed)),
        ).images
    layers = {name: np.stack(maps) for name, maps in kept.items()}
    mean = torch.stack(shares).mean(0).tolist()
    pieces, parts = token_pieces(tokenizer, expanded), dict(zip(every, mean, strict=True))
    return Recording(to_uint8(images[0]), text, tuple(names), layers, pieces, parts)


def _keeper(
    capture: AttentionCapture, n: int, kept: dict[str, list[np.ndarray]], shares: list[torch.Tensor]
) -> Callable:
    """diffusers' callback: after each step the maps of ``n`` words, and all tokens' shares."""

    def keep(pipe, step, timestep, values):
        for name, read in capture.layers.items():  # (1, heads, q, n + all)
            maps = read[0, ..., :n].unflatten(1, grid_size(read.shape[2]))
            kept.setdefault(name, []).append(maps.half().cpu().numpy())
            shares.append(read[0, ..., n:].float().mean((0, 1)).cpu())
        return values

    return keep
