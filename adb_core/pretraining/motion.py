"""How the motion module learns: the v-prediction of clips, on a U-Net that stays as it is.

``python -m adb_core.pretraining.make_motion`` writes ``data/motion``. The random numbers of a step
come from the seed and the step alone, so a run that was stopped goes on as if it had not been.

The frames of a clip share half of their noise (Ge et al. 2023, arXiv 2305.10474): with noise of
their own each the background differs from frame to frame, and with the same noise for all the
difference of two noisy frames would show the motion that has to be learned.

Axes: v clips, f frames, c channels of a latent, k tokens, y, x.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..beyond.motion import Motion, moving
from ..beyond.moves import clip_noise
from ..tinymodel.precision import autocast
from ..toyworld.clips import FRAMES, KINDS, render_clip, sample_clip_scene
from ..toyworld.grammar import caption
from .attention import fast_attention
from .randomness import step_rng, torch_generator
from .unet import EMPTY_SHARE

if TYPE_CHECKING:
    from ..seam import Base


@dataclass(frozen=True)
class MotionSettings:
    """How it is trained.

    Attributes:
        steps, batch: of AdamW; clips a step. lr: falls to zero along a cosine after the warmup.
        clips: drawn before, of which every step takes some.
        weight: what an error counts beyond 1 where the subject is in any of the frames.
    """

    steps: int = 600
    batch: int = 2
    lr: float = 2e-3
    warmup: int = 30
    clips: int = 400
    weight: float = 3.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        rising = min(1.0, (step + 1) / self.warmup)
        return self.lr * rising * 0.5 * (1 + float(np.cos(np.pi * step / self.steps)))


class Clips(NamedTuple):
    """What it learns from: latents (v, f, c, y, x), where the subject is (v, y, x), what is said
    (token ids, (v, k); the last row, (1, k), says nothing), and the number of each motion."""

    latents: Tensor
    subject: Tensor
    ids: Tensor
    empty: Tensor
    kinds: list[str]


class MotionStep(NamedTuple):
    """What a step says: its number, and its loss."""

    step: int
    loss: float


@torch.no_grad()
def draw_clips(base: Base, count: int, seed: int = 0) -> Clips:
    """Clips of all motions in turn, each drawn from (seed, number), as latents.

    The vocabulary has no word for a motion: captions say what a still shows.
    """
    latents, subject, texts, kinds = [], [], [], []
    for number in range(count):
        rng = np.random.default_rng([seed, number, 0xC11B])
        kinds.append(KINDS[number % len(KINDS)])
        scene = sample_clip_scene(rng)
        clip = render_clip(scene, kinds[-1], int(rng.integers(2**31)), FRAMES, base.side)
        pixels = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).to(base.device)
        with autocast(base.device):
            latents.append(base.encode_pictures(pixels.float() / 127.5 - 1).mean.half())
        anywhere = torch.from_numpy(clip.masks.any(0))[None, None].float()
        cells = torch.nn.functional.adaptive_avg_pool2d(anywhere, base.latent_side)
        subject.append(cells[0, 0])
        texts.append(caption(scene, number))
    tokenizer = base.text.tokenizers[0]
    length = tokenizer.model_max_length
    said = tokenizer(
        [*texts, ""], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return Clips(torch.stack(latents), torch.stack(subject), said[:-1], said[-1:], kinds)


def noisy_timesteps(rng: np.random.Generator, batch: int, steps: int = 1000) -> np.ndarray:
    """int64 (batch,): one in each of ``batch`` bins, as many more as there is more noise.

    Where a subject is, is decided under much noise; with little, the latents show it already.
    """
    bins = (rng.permutation(batch) + rng.random(batch)) / batch
    return np.minimum(np.sqrt(bins) * steps, steps - 1).astype(np.int64)


def motion_loss(
    base: Base, motion: Motion, clips: Clips, settings: MotionSettings, step: int
) -> Tensor:
    """The error of v, or of noise if that is what the base predicts, of a batch of clips.

    Each clip has its own noise level, which all of its frames have.
    """
    rng = step_rng(settings.seed, "motion", step)
    rows = rng.choice(len(clips.kinds), settings.batch, replace=False)
    clean = clips.latents[rows].to(base.device).float()  # (v, f, c, y, x)
    t = torch.from_numpy(noisy_timesteps(rng, settings.batch)).to(base.device)
    noise = clip_noise(clean.shape, torch_generator(rng)).to(base.device)
    a = base.scheduler.alphas_cumprod.to(base.device)[t].view(-1, 1, 1, 1, 1)
    noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
    velocity = base.prediction_type == "v_prediction"
    target = a.sqrt() * noise - (1 - a).sqrt() * clean if velocity else noise
    ids = clips.ids[rows].clone()
    ids[torch.from_numpy(rng.random(settings.batch) < EMPTY_SHARE)] = clips.empty
    frames = clean.shape[1]
    with torch.no_grad():
        states = base.encode_prompts(ids.repeat_interleave(frames, 0).to(base.device))
    with moving(base.unet, motion, [clips.kinds[row] for row in rows]), autocast(base.device):
        times = t.repeat_interleave(frames)
        guess = base.predict(base.unet, noisy.flatten(0, 1), times, states)
    error = (guess.float().view_as(target) - target).square().mean(2)  # (v, f, y, x)
    counts = 1 + settings.weight * clips.subject[rows].to(base.device)[:, None]
    return (error * counts).sum() / counts.expand_as(error).sum()


def train_motion(
    base: Base,
    motion: Motion,
    clips: Clips,
    settings: MotionSettings,
    optimizer: torch.optim.AdamW,
    first: int = 0,
) -> Iterator[MotionStep]:
    """Train from step ``first`` on; yields after every step. The U-Net's weights stay frozen.

    Args:
        optimizer: of the module's parameters, as of :func:`build_optimizer`.
    """
    frozen = [p for p in base.unet.parameters() if p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for step in range(first, settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step)
            with fast_attention(base.unet):
                loss = motion_loss(base, motion, clips, settings, step)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(motion.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            yield MotionStep(step, float(loss.detach()))
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def build_optimizer(motion: Motion, settings: MotionSettings) -> torch.optim.AdamW:
    """AdamW on the module's parameters alone."""
    return torch.optim.AdamW(motion.parameters(), lr=settings.lr, weight_decay=0.01)
