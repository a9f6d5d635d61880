"""Prompts to pictures.

Axes: p prompts, s seeds, b = p * s pictures (prompt by prompt), t sampling steps, n tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .attention import capture_attention, selection
from .base import Drawable
from .concept_token import check_length
from .maps import aggregate
from .models import TOY_SIDE
from .provenance.record import BLIND, Provenance, of_model
from .sampling import GUIDANCE as GUIDANCE, PLAIN, STEPS as STEPS, PromptError, Sampling
from .system.memory import memory_text


@dataclass(frozen=True)
class Generation:
    """What was asked for and what came out.

    Attributes:
        images: uint8 (b, h, w, 3), RGB.
        prompts, seeds: of each picture, length b. prompts name the concept by its placeholder.
        words: names of the recorded tokens of each picture, length b, or empty.
        maps: float32 (b, t, n, y, x) averaged over heads and layers, or None; n is the largest
            number of words, missing ones are zero.
        about: what a file of these pictures should say of its origin.
    """

    images: np.ndarray
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    words: tuple[tuple[str, ...], ...] = ()
    maps: np.ndarray | None = None
    about: Provenance = BLIND

    def word_maps(self, picture: int) -> dict[str, np.ndarray]:
        """The maps of one picture averaged over the sampling steps: word -> float32 (y, x)."""
        if self.maps is None:
            raise PromptError("no attention was recorded: generate with maps=True")
        return {
            word: self.maps[picture, :, k].mean(0) for k, word in enumerate(self.words[picture])
        }


def generate(
    model: Drawable,
    prompts: str | Sequence[str],
    seeds: Sequence[int] = (0,),
    sampling: Sampling = PLAIN,
    **changes: Any,
) -> Generation:
    """Sample every prompt with every seed.

    Args:
        model: a personalized result (prompts carry ``{}``) or a base model (plain prompts).
        sampling: a :class:`Sampling`; changes: some of its fields, by name.

    Raises:
        PromptError: no prompt, no ``{}``, a word that the prompt does not contain, odd numbers.
        TokenError: a prompt longer than the model reads.
    """
    sampling = replace(sampling, **changes).of(model)
    if isinstance(prompts, str):
        prompts = [prompts]
    if not prompts or not len(seeds):
        raise PromptError("give at least one prompt and one seed")
    texts = [fill(prompt, model.subject) for prompt in prompts]
    pipeline = scheduled(model.pipeline(), sampling.scheduler)
    check(model, pipeline, texts, sampling.steps)
    jobs = [Job(text, model.expand(text), int(seed)) for text in texts for seed in seeds]
    starts = range(0, len(jobs), sampling.batch)
    with one_by_one(pipeline):
        parts = [
            _sample(pipeline, jobs[start : start + sampling.batch], sampling)
            for start in _ticks(starts, sampling.progress, model.base.device)
        ]
    how = {"steps": sampling.steps, "guidance": sampling.guidance}
    return replace(_join(parts, jobs), about=of_model(model, texts, seeds, **how))


# ---------------------------------------------------------------- prompts


def fill(prompt: str, subject: str | None) -> str:
    """Put the subject in place of ``{}``; without a subject a prompt stays as it is.

    Raises:
        PromptError: not exactly one ``{}`` for a subject.
    """
    if subject is None:
        return prompt
    if prompt.count("{}") != 1:
        raise PromptError(
            f"prompt {prompt!r} needs exactly one {{}} where the concept goes, "
            "as in 'a photo of a {} on the beach'"
        )
    return prompt.replace("{}", subject)


def check(model: Drawable, pipeline: Any, texts: Sequence[str], steps: int | None) -> None:
    """Find before the work what the libraries would cut off in silence, or fail at.

    Raises:
        PromptError: too many sampling steps; TokenError: a prompt that is too long.
    """
    most = pipeline.scheduler.config.num_train_timesteps
    if steps is not None and steps > most:
        raise PromptError(
            f"{steps} sampling steps are more than the {most} that the model was trained with: "
            "use 20 to 50"
        )
    check_length(pipeline.tokenizer, [model.expand(text) for text in texts])


def prompt_words(tokenizer: Any, prompt: str) -> list[tuple[str, list[int]]]:
    """The words of a prompt and their token positions, pieces together: [("red", [4]), ...]."""
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


def word_groups(
    tokenizer: Any, prompt: str, chosen: Sequence[str] | None
) -> tuple[list[str], list[list[int]]]:
    """Some words of a prompt, or all of them, and the positions of each.

    Raises:
        PromptError: a word that the prompt does not contain.
    """
    there = prompt_words(tokenizer, prompt)
    if chosen is None:
        return [w for w, _ in there], [p for _, p in there]
    groups = []
    for word in chosen:
        hits = [positions for text, positions in there if text in (word, word.lower())]
        if not hits:
            raise PromptError(
                f"the prompt {prompt!r} has no word {word!r}: "
                f"choose from {', '.join(w for w, _ in there)}"
            )
        groups.append(hits[0])
    return list(chosen), groups


# ---------------------------------------------------------------- sampling


@dataclass(frozen=True)
class Job:
    """One picture to draw.

    diffusers writes out the vectors of a word itself, so the pipeline gets ``text``; lengths and
    positions of tokens are those of ``expanded``.
    """

    text: str
    expanded: str
    seed: int


@dataclass(frozen=True)
class _Part:
    """One batch of pictures: float (b, h, w, 3), their words, and maps (b, t, n, y, x)."""

    images: np.ndarray
    words: tuple[tuple[str, ...], ...] = ()
    maps: Tensor | None = None


def scheduled(pipeline: Any, scheduler: Any) -> Any:
    """The pipeline with another scheduler, a class or an object, if one is given."""
    if scheduler is not None:
        config = pipeline.scheduler.config
        is_class = isinstance(scheduler, type)
        pipeline.scheduler = scheduler.from_config(config) if is_class else scheduler
    return pipeline


@contextmanager
def one_by_one(pipeline: Any) -> Iterator[None]:
    """Within, the VAE decodes large pictures one after the other.

    That takes no more time, and of eight pictures an eighth of the memory. Small ones, as the tiny
    model's, are decoded at once.
    """
    vae, side = pipeline.vae, pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    before = vae.use_slicing
    vae.use_slicing = before or side >= TOY_SIDE
    try:
        yield
    finally:
        vae.use_slicing = before


def _ticks(items: range, progress: bool, device: torch.device) -> Iterator[int]:
    from tqdm.auto import tqdm

    bar = tqdm(items, desc="generate", disable=not progress)
    for item in bar:
        bar.set_postfix(memory=memory_text(device), refresh=False)
        yield item


def _sample(pipeline: Any, jobs: Sequence[Job], sampling: Sampling) -> _Part:
    """One batch through the pipeline."""
    texts = [job.text for job in jobs]
    call: dict[str, Any] = dict(
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance,
        generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
        output_type="np",
    )
    if not sampling.maps:
        return _Part(pipeline(texts, **call).images)
    tokenizer = pipeline.tokenizer
    named = [word_groups(tokenizer, job.expanded, sampling.words) for job in jobs]
    n, length = max(len(groups) for _, groups in named), tokenizer.model_max_length
    columns = torch.zeros(len(texts), length, n)  # (b, k, n)
    for row, (_, groups) in zip(columns, named, strict=True):
        row[:, : len(groups)] = selection(length, groups)
    kept: list[Tensor] = []
    guided = sampling.guidance is not None and sampling.guidance > 1
    with capture_attention(pipeline.unet, columns, grad=False, conditional_half=guided) as capture:

        def keep(pipe, step, timestep, values):
            maps = aggregate(capture.layers, resolution=sampling.resolution)  # (b, n, y, x)
            kept.append(maps.cpu())
            return values

        images = pipeline(texts, callback_on_step_end=keep, **call).images
    return _Part(images, tuple(tuple(words) for words, _ in named), torch.stack(kept, 1))


def to_uint8(images: np.ndarray) -> np.ndarray:
    """The pipeline's floats in [0, 1] as uint8."""
    return (images * 255).round().astype(np.uint8)


def _join(parts: Sequence[_Part], jobs: Sequence[Job]) -> Generation:
    images = np.concatenate([to_uint8(part.images) for part in parts])
    words = tuple(w for part in parts for w in part.words)
    recorded = [part.maps.numpy() for part in parts if part.maps is not None]
    maps = None
    if recorded:
        n = max(m.shape[2] for m in recorded)
        grown = [((0, 0), (0, 0), (0, n - m.shape[2]), (0, 0), (0, 0)) for m in recorded]
        maps = np.concatenate([np.pad(m, by) for m, by in zip(recorded, grown, strict=True)])
    prompts, seeds = tuple(job.text for job in jobs), tuple(job.seed for job in jobs)
    return Generation(images, prompts, seeds, words, maps)
