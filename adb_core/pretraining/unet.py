"""How the U-Net learns: v-prediction on cached latents (b batch, c channels, h w 16x16, k tokens).

Speed is quality here: on two cores the budget runs out long before the data does. Measured on
AMD EPYC (Zen 5, avx512_bf16), training steps of this U-Net, bf16 autocast, samples per second
and core (CPU time of one thread, since the machine was shared):

    channels_last, diffusers' fused attention (scaled_dot_product_attention)   45
    channels_last, the same by torch's math backend                            46
    channels_last, plain attention under autocast (softmax in float32)         58
    channels_last, plain attention in bf16                                     60
    plain memory format, plain attention in bf16                               70   <- used on CPU
    the same with the whole model in bf16, no autocast                         69

float32 takes 1.9 times as long, a batch of 128 instead of 64 no less time per sample. The fused
kernel's CPU backward alone took a quarter of the step. On a GPU the fused kernel is used, and
torch.compile, which joins the many small steps between the products.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..tinymodel.pipeline import build_pipeline
from ..tinymodel.unet import build_scheduler, build_unet
from .alignment import Alignment
from .attention import fast_attention
from .fit import LossFn, fit
from .parts import Parts
from .previews import preview_maker
from .randomness import torch_generator
from .settings import Budget, Fit, Place, warm
from .stage_files import is_finished

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

SNR_CAP = 5.0  # min-SNR gamma (Hang et al. 2023)
ALIGN_WEIGHT = 0.1  # of the alignment: about as large as the diffusion loss then
THINGS_WEIGHT = 4.0  # what an error on a thing counts beyond 1, where nothing is noise
EMPTY_SHARE = 0.1  # captions left empty, for classifier-free guidance

# Muon: after 52 steps the loss is 0.30 where AdamW alone has 0.34. The rate stays at its peak for
# two thirds of the run, so that a run in parts has good averages on the way. They are over the last
# 500 steps: over 2,000, those of a run of 2,400 lag so far behind that relations are found in 82 %
# of pictures instead of 94 %.
FIT = Fit(
    "unet",
    lr=1e-3,
    muon_lr=1e-2,
    batch=64,
    warmup=200,
    weight_decay=0.01,
    ema=0.998,
    schedule="trapezoid",
)


@dataclass(frozen=True)
class Frozen:
    """What stands beside the U-Net; the VAE only draws the previews."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer


@dataclass(frozen=True)
class Lessons:
    """What the U-Net learns from.

    Attributes:
        latents: (n, c, 16, 16) float16, scaled (see :func:`.latents.encode_all`).
        captions: as many of each image, the same number for all.
        metric: (c, c), see :func:`.latents.pixel_metric`; None weighs all channels alike.
        things: uint8 (n, 16, 16), see :func:`.things.build_things`; None weighs all places alike.
        states: makes what :func:`.alignment.kept_patches` makes, to align features with (it takes
            minutes, so it is called only if there is something to train); None trains without.
    """

    latents: Tensor
    captions: list[tuple[str, ...]]
    metric: Tensor | None = None
    things: Tensor | None = None
    states: Callable[[], Tensor | Parts] | None = None


# ---------------------------------------------------------------- the loss


def stratified_timesteps(rng: np.random.Generator, batch: int, steps: int = 1000) -> np.ndarray:
    """int64 (batch,): uniform, but one in each of ``batch`` equal bins: every step sees all levels.

    The loss differs a hundredfold between noise levels; spreading them evenly takes that
    difference out of the gradient's variance.
    """
    bins = rng.permutation(batch) + rng.random(batch)
    return np.minimum(bins / batch * steps, steps - 1).astype(np.int64)


def v_loss(
    prediction: Tensor,
    clean: Tensor,
    noise: Tensor,
    alpha_bar: Tensor,
    metric: Tensor | None = None,
    things: Tensor | None = None,
) -> Tensor:
    """Squared error of v = sqrt(a) noise - sqrt(1 - a) clean, with a weight for the noise level.

    The error of v is (SNR + 1) times that of the clean image. Min-SNR weighs the latter by
    min(SNR, 5); below SNR 1 the root of it stands here instead, for what a picture shows (which
    category, where) is decided at high noise. All (b, c, h, w) but alpha_bar (b,) and ``metric``
    (c, c), by which an error counts as it is seen.

    ``things`` (b, h, w), 0 to 1, says how much of each latent shows something that the caption
    names. Errors there count up to 1 + :data:`THINGS_WEIGHT` times; less under noise, where a
    picture does not yet say where its things are: weighing by what the network cannot know would
    have it draw things everywhere. The weights' mean over each picture is 1, so that no noise level
    loses by it.
    """
    a = alpha_bar.view(-1, 1, 1, 1)
    target = a.sqrt() * noise - (1 - a).sqrt() * clean
    error = prediction.float() - target
    if metric is not None:
        error = torch.einsum("dc,bchw->bdhw", metric, error)
    error = error.square().mean(1)  # (b, h, w)
    if things is not None:
        counts = 1 + THINGS_WEIGHT * alpha_bar.view(-1, 1, 1) * things
        error = error * counts / counts.mean((1, 2), keepdim=True)
    error = error.mean((1, 2))  # (b,)
    snr = alpha_bar / (1 - alpha_bar)
    weight = torch.maximum(snr, snr.sqrt()).clamp(max=SNR_CAP)
    return (error * weight / (snr + 1)).mean()


def tokenize_distinct(
    tokenizer: CLIPTokenizer, captions: list[tuple[str, ...]]
) -> tuple[Tensor, Tensor]:
    """Distinct captions as ids, int32 (m, k), the first one empty; and which of them say image n.

    Returns:
        ids, choice: int32 (n, captions per image), rows of ``ids``.
    """
    distinct = {"": 0}
    choice = torch.tensor(
        [[distinct.setdefault(c, len(distinct)) for c in said] for said in captions],
        dtype=torch.int32,
    )
    ids = tokenizer(
        list(distinct),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids.int(), choice


def draw_batch(rng: np.random.Generator, batch: int, choice: Tensor) -> tuple[Tensor, Tensor]:
    """(image numbers, caption rows), both (batch,); one caption in ten is the empty one."""
    n, said = choice.shape
    rows = torch.from_numpy(rng.integers(n, size=batch))
    texts = choice[rows, torch.from_numpy(rng.integers(said, size=batch))].long()
    texts[torch.from_numpy(rng.random(batch) < EMPTY_SHARE)] = 0
    return rows, texts


# ---------------------------------------------------------------- training


@dataclass
class Batches:
    """The lessons on their device, drawn batch by batch."""

    latents: Tensor
    ids: Tensor
    choice: Tensor
    seen: Tensor | Parts | None
    metric: Tensor | None
    things: Tensor | None

    @classmethod
    def of(cls, lessons: Lessons, tokenizer: CLIPTokenizer, trained: bool, device) -> Batches:
        """``trained``: the stage is done, so patch states are not needed."""
        ids, choice = tokenize_distinct(tokenizer, lessons.captions)
        seen = None if lessons.states is None or trained else lessons.states()  # (n, 64, c)
        # 1.5 gigabytes for 60,000 images: a GPU holds all of it and never waits for a copy.
        if seen is not None and torch.device(device).type == "cuda":
            seen = seen[torch.arange(len(seen))].to(device)
        metric = None if lessons.metric is None else lessons.metric.to(device)
        things = None if lessons.things is None else lessons.things.to(device)
        return cls(lessons.latents.to(device), ids.to(device), choice, seen, metric, things)

    def things_in(self, rows: Tensor) -> Tensor | None:
        """(b, 16, 16), 0 to 1, of these images."""
        if self.things is None:
            return None
        return self.things[rows.to(self.things.device)].float() / 255


def make_loss(
    unet: Callable,
    text_encoder: CLIPTextModel,
    alignment: Alignment | None,
    batches: Batches,
    batch: int,
) -> LossFn:
    """A step's loss on ``batch`` latents, each noised to its own level.

    Args:
        unet: the U-Net, watched by ``alignment``; or the same, compiled.
    """
    device = batches.latents.device
    alpha_bar = build_scheduler().alphas_cumprod.to(device)

    def loss_fn(step: int, rng: np.random.Generator):
        rows, texts = draw_batch(rng, batch, batches.choice)
        clean = batches.latents[rows.to(device)].float()  # (b, c, h, w)
        t = torch.from_numpy(stratified_timesteps(rng, batch)).to(device)
        noise = torch.randn(clean.shape, generator=torch_generator(rng, device), device=device)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
        # The text tower is tiny: running it each step costs 2 %, a table of all states 2 GB.
        with torch.no_grad():
            ids = batches.ids[texts.to(device)].long()
            words = text_encoder(input_ids=ids).last_hidden_state  # (b, k, c)
        guess = unet(noisy, t, words).sample
        seen_as = (batches.metric, batches.things_in(rows))
        loss = v_loss(guess, clean, noise, alpha_bar[t], *seen_as)
        if alignment is None:
            return loss, {}
        seen = batches.seen
        apart = alignment(seen[rows.to(device) if isinstance(seen, Tensor) else rows].to(device))
        extras = {"diffusion": loss.detach(), "alignment": apart.detach()}
        return loss + ALIGN_WEIGHT * apart, extras

    return loss_fn


def train_unet(
    lessons: Lessons,
    frozen: Frozen,
    *,
    place: Place,
    budget: Budget,
    settings: Fit = FIT,
    start: Path | None = None,
    previews: bool = True,
) -> UNet2DConditionModel:
    """Train (or resume, or load) the U-Net; previews land in ``run_dir/preview-*.png``.

    Args:
        start: a diffusers folder of a trained U-Net to go on from.
    """
    torch.manual_seed(place.seed)
    device = torch.device(place.device)
    unet = build_unet(lessons.latents.shape[1])
    alignment = None if lessons.states is None else Alignment(unet)
    if start is not None:
        unet.load_state_dict(type(unet).from_pretrained(start, use_safetensors=True).state_dict())
    settings = warm(settings, start)
    text_encoder = frozen.text_encoder.to(device).eval().requires_grad_(False)
    trained = is_finished(place.run_dir, settings.name)
    batches = Batches.of(lessons, frozen.tokenizer, trained, device)
    net, attention, watching = unet, nullcontext(), nullcontext()
    if device.type == "cpu":
        attention = fast_attention(unet)
    if alignment is not None:
        watching = alignment.watching()
    if device.type == "cuda":
        unet.to(device, memory_format=torch.channels_last)
        net = torch.compile(unet, dynamic=False)
    loss_fn = make_loss(net, text_encoder, alignment, batches, settings.batch)
    modules = {"unet": unet} if alignment is None else {"unet": unet, "alignment": alignment}
    pipeline = build_pipeline(frozen.vae, text_encoder, frozen.tokenizer, unet)
    on_log = preview_maker(pipeline, Path(place.run_dir), place.seed) if previews else None
    with attention, watching:
        fit(settings, modules, loss_fn, place=place, budget=budget, on_log=on_log)
    return unet
