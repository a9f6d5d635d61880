"""Prompts to pictures, and where each chosen word looked while they were made.

Axes: p prompts, s seeds, b = p * s pictures (prompt by prompt), t sampling steps, n tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .attention import aggregate, capture_attention, grid_size, selection, upsample
from .concept_token import check_length

if TYPE_CHECKING:
    from .base import Base
    from .personalization import Result

STEPS, GUIDANCE = (
    25,
    3.0,
)  # Stable Diffusion is usually sampled with 7.5; the bundled model does best with 3


class PromptError(ValueError):
    """A prompt that cannot be used; one line with the cure."""


@dataclass(frozen=True)
class Generation:
    """What was asked for and what came out.

    Attributes:
        images: uint8 (b, h, w, 3), RGB.
        prompts, seeds: of each picture, length b. prompts are as the model read them.
        words: names of the recorded tokens of each picture, length b, or empty.
        maps: float32 (b, t, n, y, x) averaged over heads and layers, or None; n is the largest
            number of words, missing ones are zero.
    """

    images: np.ndarray
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    words: tuple[tuple[str, ...], ...] = ()
    maps: np.ndarray | None = None

    def word_maps(self, picture: int) -> dict[str, np.ndarray]:
        """The maps of one picture averaged over the sampling steps: word -> float32 (y, x)."""
        if self.maps is None:
            raise PromptError("no attention was recorded: generate with maps=True")
        return {
            word: self.maps[picture, :, k].mean(0) for k, word in enumerate(self.words[picture])
        }


def fill(prompt: str, subject: str) -> str:
    """Put the subject in place of ``{}``; prompts without it are errors, not other prompts.

    Raises:
        PromptError: not exactly one ``{}``.
    """
    if prompt.count("{}") != 1:
        raise PromptError(
            f"prompt {prompt!r} needs exactly one {{}} where the concept goes, as in 'a photo of a {{}} on the beach'"
        )
    return prompt.replace("{}", subject)


def generate(
    model: Result | Base,
    prompts: str | Sequence[str],
    seeds: Sequence[int] = (0,),
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    scheduler=None,
    batch: int = 8,
    maps: bool = False,
    words: Sequence[str] | None = None,
    resolution: int | None = None,
    progress: bool = False,
) -> Generation:
    """Sample every prompt with every seed.

    Args:
        model: a personalized result (prompts carry ``{}``) or a base model (plain prompts).
        steps: sampling steps; guidance: classifier-free guidance scale, 1 switches it off.
        scheduler: any diffusers scheduler class or object; None is DPM-Solver++.
        maps: record cross-attention of ``words`` (None: every word of the prompt).
        resolution: record only layers with maps of this height.

    Raises:
        PromptError: no prompt, no ``{}``, a word that the prompt does not contain, odd numbers.
        TokenError: a prompt longer than the model reads.
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    if not prompts or not len(seeds):
        raise PromptError("give at least one prompt and one seed")
    if steps < 1 or not 1 <= guidance < math.inf or batch < 1:
        raise PromptError(
            f"steps and batch must be at least 1 and guidance at least 1 and finite, got {steps}, {batch} and {guidance}"
        )
    texts = (
        [fill(p, model.subject) for p in prompts] if hasattr(model, "subject") else list(prompts)
    )
    jobs = [(text, int(seed)) for text in texts for seed in seeds]
    pipeline = _pipeline(model, scheduler)
    expand = model.token.expand if hasattr(model, "token") else str
    _check(pipeline, [expand(text) for text in texts], steps)
    parts = []
    for start in _ticks(range(0, len(jobs), batch), progress):
        parts.append(
            _sample(
                pipeline,
                jobs[start : start + batch],
                expand,
                steps,
                guidance,
                maps,
                words,
                resolution,
            )
        )
    return _join(parts, jobs)


def _check(pipeline, texts: Sequence[str], steps: int) -> None:
    """Find before the work what the libraries would cut off in silence, or fail at."""
    most = pipeline.scheduler.config.num_train_timesteps
    if steps > most:
        raise PromptError(
            f"{steps} sampling steps are more than the {most} that the model was trained with: use 20 to 50"
        )
    check_length(pipeline.tokenizer, texts)


def _pipeline(model, scheduler):
    pipeline = model.pipeline()
    if scheduler is not None:
        pipeline.scheduler = (
            scheduler.from_config(pipeline.scheduler.config)
            if isinstance(scheduler, type)
            else scheduler
        )
    return pipeline


def _ticks(items, progress: bool):
    from tqdm.auto import tqdm

    return tqdm(items, desc="generate", disable=not progress)


def prompt_words(tokenizer, prompt: str) -> list[tuple[str, list[int]]]:
    """The words of a prompt and their token positions: [("red", [4]), ...]; pieces of one word go together."""
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(prompt).input_ids)
    added = set(tokenizer.get_added_vocab())
    words: list[tuple[str, list[int]]] = []
    open_word = False
    for position, piece in enumerate(pieces):
        if piece in (tokenizer.bos_token, tokenizer.eos_token):
            continue
        text = piece.replace("</w>", "")
        if open_word:
            words[-1] = (words[-1][0] + text, [*words[-1][1], position])
        else:
            words.append((text, [position]))
        open_word = not piece.endswith("</w>") and piece not in added
    return words


def _word_groups(
    tokenizer, prompt: str, wanted: Sequence[str] | None
) -> tuple[list[str], list[list[int]]]:
    found = prompt_words(tokenizer, prompt)
    if wanted is None:
        return [w for w, _ in found], [p for _, p in found]
    groups = []
    for word in wanted:
        hits = [positions for text, positions in found if text == word.lower() or text == word]
        if not hits:
            raise PromptError(
                f"the prompt {prompt!r} has no word {word!r}: choose from {', '.join(w for w, _ in found)}"
            )
        groups.append(hits[0])
    return list(wanted), groups


def _sample(pipeline, jobs, expand, steps, guidance, maps, words, resolution):
    """One batch through the pipeline: (images, words, maps)."""
    texts = [expand(text) for text, _ in jobs]
    generators = [torch.Generator().manual_seed(seed) for _, seed in jobs]
    call = dict(
        num_inference_steps=steps, guidance_scale=guidance, generator=generators, output_type="np"
    )
    if not maps:
        return pipeline(texts, **call).images, (), None
    named = [_word_groups(pipeline.tokenizer, text, words) for text in texts]
    n = max(len(groups) for _, groups in named)
    length = pipeline.tokenizer.model_max_length
    chosen = torch.zeros(len(texts), length, n)
    for row, (_, groups) in zip(chosen, named):
        row[:, : len(groups)] = selection(length, groups)
    kept: list[Tensor] = []
    with capture_attention(
        pipeline.unet, chosen, grad=False, conditional_half=guidance > 1
    ) as capture:

        def keep(pipe, step, timestep, values):
            kept.append(aggregate(capture.layers, resolution=resolution).cpu())  # (b, n, y, x)
            return values

        images = pipeline(texts, callback_on_step_end=keep, **call).images
    return images, tuple(tuple(w) for w, _ in named), torch.stack(kept, 1)


def _join(parts, jobs) -> Generation:
    images = np.concatenate([(p[0] * 255).round().astype(np.uint8) for p in parts])
    words = tuple(w for p in parts for w in p[1])
    maps = None
    if parts[0][2] is not None:
        n = max(p[2].shape[2] for p in parts)
        maps = np.concatenate(
            [
                np.pad(p[2].numpy(), ((0, 0), (0, 0), (0, n - p[2].shape[2]), (0, 0), (0, 0)))
                for p in parts
            ]
        )
    return Generation(images, tuple(t for t, _ in jobs), tuple(s for _, s in jobs), words, maps)


# ---------------------------------------------------------------- every map, for looking at


@dataclass(frozen=True)
class Recording:
    """One picture and every cross-attention map of the words that made it.

    Attributes:
        image: uint8 (h, w, 3), RGB; prompt: as the model read it; words: of the maps' last axis.
        layers: layer name -> float16 (t, heads, y, x, n), every sampling step and head.
    """

    image: np.ndarray
    prompt: str
    words: tuple[str, ...]
    layers: dict[str, np.ndarray]

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
        used = self.layers if layer is None else {layer: self.layers[layer]}
        times = slice(None) if step is None else slice(step, step + 1)
        picked = {
            name: maps[times, ..., self.words.index(word)].astype(np.float32).mean(0)
            for name, maps in used.items()
        }  # (h, y, x)
        if head is not None and not all(0 <= head < len(maps) for maps in picked.values()):
            raise PromptError(
                f"not every layer has a head {head}: choose from 0 to {min(map(len, picked.values())) - 1}"
            )
        size = size or max(maps.shape[1:] for maps in picked.values())
        means = [
            torch.from_numpy(maps.mean(0) if head is None else maps[head])
            for maps in picked.values()
        ]  # (y, x) each
        return torch.stack([upsample(m, size) for m in means]).mean(0).numpy()


def record(
    model: Result | Base,
    prompt: str,
    *,
    seed: int = 0,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    words: Sequence[str] | None = None,
) -> Recording:
    """Draw one picture and keep the maps of its words in every layer, head and sampling step.

    Raises:
        PromptError: as :func:`generate`.
    """
    text = fill(prompt, model.subject) if hasattr(model, "subject") else prompt
    pipeline = model.pipeline()
    text = model.token.expand(text) if hasattr(model, "token") else text
    _check(pipeline, [text], steps)
    names, groups = _word_groups(pipeline.tokenizer, text, words)
    kept: dict[str, list[np.ndarray]] = {}
    chosen = selection(pipeline.tokenizer.model_max_length, groups)
    with capture_attention(
        pipeline.unet, chosen, grad=False, conditional_half=guidance > 1
    ) as capture:

        def keep(pipe, step, timestep, values):
            for name, columns in capture.layers.items():  # (1, heads, q, n)
                kept.setdefault(name, []).append(
                    columns[0].unflatten(1, grid_size(columns.shape[2])).half().cpu().numpy()
                )
            return values

        images = pipeline(
            text,
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="np",
            callback_on_step_end=keep,
            generator=torch.Generator().manual_seed(int(seed)),
        ).images
    image = (images[0] * 255).round().astype(np.uint8)
    return Recording(
        image, text, tuple(names), {name: np.stack(maps) for name, maps in kept.items()}
    )
