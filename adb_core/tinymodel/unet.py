"""The tiny model's U-Net: v-prediction on cached latents (b batch, c channels, h w 16x16, k tokens).

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
kernel's CPU backward alone took a quarter of the step. On a GPU the fused kernel is used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..system.files import atomic_write_bytes
from .fit import Ema, Fit, autocast, fit, is_finished, torch_generator, warm
from .tokenizer import TEXT_WIDTH
from .vae import LATENT_CHANNELS

if TYPE_CHECKING:
    from diffusers import (
        AutoencoderKL,
        DDPMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

WIDTHS = (96, 160, 192)  # channels at 16x16, 8x8 and 4x4
SNR_CAP = 5.0  # min-SNR gamma (Hang et al. 2023)
ALIGN_WEIGHT = (
    0.1  # of the alignment with tiny-clip's patches, about as large as the diffusion loss then
)
EMPTY_SHARE = 0.1  # captions left empty, for classifier-free guidance
PREVIEW_MINUTES = 10.0
PREVIEW_GUIDANCE, PREVIEW_STEPS = 5.0, 20
PREVIEW_PROMPTS = (
    "a photo of a red cat wearing a hat on the beach",
    "a photo of a lime and purple checkered robot holding a ball in the city",
    "a photo of a tall white and navy striped rabbit with a heart in the forest",
    "pixel art of a teal turtle with a star under the sea",
    "a sketch of a brown dog next to a box in the kitchen",
    "a photo of a yellow spotted bird on top of a cake in the snow under a rainbow",
    "a photo of a chubby purple teapot with a lightning bolt wearing a scarf on the moon",
    "a painting of a pink and olive ringed mushroom under an umbrella in the desert",
)

FIT = Fit("unet", lr=1e-3, batch=64, warmup=200, weight_decay=0.01, ema=0.9995, betas=(0.9, 0.99))


def build_unet(latent_channels: int = LATENT_CHANNELS) -> UNet2DConditionModel:
    """Cross-attention at 16x16 and 8x8, and between at 4x4; heads of 32 channels everywhere.

    diffusers reads ``attention_head_dim`` as the NUMBER of heads (a historical slip it keeps).
    """
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=tuple(width // 32 for width in WIDTHS),
        norm_num_groups=16,
        use_linear_projection=True,
    )


def build_scheduler() -> DDPMScheduler:
    """Stable Diffusion's noise schedule with v-prediction.

    Trailing spacing: sampling starts at the noisiest step, which is the nearest to the pure
    noise that it starts from (Lin et al. 2024).
    """
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=False,
    )


def build_pipeline(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> StableDiffusionPipeline:
    """A plain Stable Diffusion pipeline around the parts (which it shares, not copies)."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


# ---------------------------------------------------------------- the loss


def stratified_timesteps(rng: np.random.Generator, batch: int, steps: int = 1000) -> np.ndarray:
    """int64 (batch,): uniform, but one in each of ``batch`` equal bins, so every step sees all noise levels.

    The loss differs a hundredfold between noise levels; spreading them evenly takes that
    difference out of the gradient's variance.
    """
    bins = rng.permutation(batch) + rng.random(batch)
    return np.minimum(bins / batch * steps, steps - 1).astype(np.int64)


def v_loss(prediction: Tensor, clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Squared error of v = sqrt(a) noise - sqrt(1 - a) clean, with a weight for the noise level.

    The error of v is (SNR + 1) times that of the clean image. Min-SNR weighs the latter by
    min(SNR, 5); below SNR 1 the root of it stands here instead, for what a picture shows (which
    category, where) is decided at high noise. All (b, c, h, w) but alpha_bar (b,).
    """
    a = alpha_bar.view(-1, 1, 1, 1)
    target = a.sqrt() * noise - (1 - a).sqrt() * clean
    error = (prediction.float() - target).square().mean((1, 2, 3))  # (b,)
    snr = alpha_bar / (1 - alpha_bar)
    weight = torch.maximum(snr, snr.sqrt()).clamp(max=SNR_CAP)
    return (error * weight / (snr + 1)).mean()


def tokenise(tokenizer: CLIPTokenizer, captions: list[tuple[str, ...]]) -> tuple[Tensor, Tensor]:
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


# ---------------------------------------------------------------- attention that trains quickly on a CPU


class PlainAttention:
    """softmax(q k^T / sqrt(d)) v, written out; what ``AttnProcessor2_0`` computes in one fused kernel."""

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
            weights = torch.softmax(
                (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1
            )  # (b, heads, q, k)
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


# ---------------------------------------------------------------- alignment with what tiny-clip sees


class Alignment(nn.Module):
    """How far the U-Net's 8x8 features are from tiny-clip's 8x8 patch states (REPA, Yu et al. 2024).

    A small U-Net learns what things are slowly from noise alone. The vision tower knows it
    already, one state for each 16x16 pixels, which is one for each position of the U-Net's second
    level. A small head maps features to states; it is thrown away after training. No mask is
    involved: the vision tower has seen pictures and captions, nothing else.

    Args:
        unet: watched by a hook while :meth:`watching`; its weights are not this module's.
        channels: of the features; width: of the states.
    """

    def __init__(
        self, unet: UNet2DConditionModel, channels: int = WIDTHS[1], width: int = TEXT_WIDTH
    ):
        super().__init__()
        self.head = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, width)
        )
        self._layer = [unet.down_blocks[1].attentions[-1]]  # in a list: not a submodule
        self._features: Tensor | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        def keep(module, args, output) -> None:
            self._features = output[0]  # (b, c, 8, 8)

        handle = self._layer[0].register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()
            self._features = None

    def forward(self, states: Tensor) -> Tensor:
        """1 - cosine of the last pass's features and ``states`` (b, 64, c), mean over all; a scalar."""
        features = self._features.flatten(2).transpose(1, 2)  # (b, 64, c)
        return (
            1
            - nn.functional.cosine_similarity(
                self.head(features).float(), states.float(), dim=-1
            ).mean()
        )


@torch.no_grad()
def patch_states(clip: CLIPModel, images: np.ndarray, batch: int = 256) -> Tensor:
    """What tiny-clip's vision tower says of each patch: float16 (n, 64, c), on the CPU; uint8 (n, 128, 128, 3) in."""
    from .clip import embed_patches, to_pixels

    parts = []
    for start in range(0, len(images), batch):
        with autocast(clip.device):
            states = embed_patches(
                clip,
                clip.vision_model(
                    pixel_values=to_pixels(images[start : start + batch], clip.device)
                ),
            )
        parts.append(states.half().cpu())
    return torch.cat(parts)


# ---------------------------------------------------------------- training


def train_unet(
    latents: Tensor,
    captions: list[tuple[str, ...]],
    *,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    run_dir: str | Path,
    seed: int,
    device: torch.device | str,
    minutes: float | None = None,
    steps: int | None = None,
    settings: Fit = FIT,
    bf16: bool | None = None,
    previews: bool = True,
    start: Path | None = None,
    states: Callable[[], Tensor] | None = None,
) -> UNet2DConditionModel:
    """Train (or resume, or load) the U-Net.

    Args:
        latents: (n, c, 16, 16) float16, scaled (see :func:`.vae.encode_all`).
        captions: as many of each image, the same number for all.
        vae, text_encoder: frozen; the VAE only draws the previews, in ``run_dir/preview-*.png``.
        start: a diffusers folder of a trained U-Net to go on from.
        states: makes what :func:`patch_states` makes, to align features with (it takes minutes, so it is
            called only if there is something to train); None trains without.
    """
    torch.manual_seed(seed)
    device = torch.device(device)
    unet = build_unet(latents.shape[1])
    alignment = None if states is None else Alignment(unet)
    if start is not None:
        unet.load_state_dict(type(unet).from_pretrained(start, use_safetensors=True).state_dict())
    settings = warm(settings, start)
    if device.type == "cuda":  # tensor cores want it; on the CPU it is slower, see above
        unet.to(memory_format=torch.channels_last)
    text_encoder = text_encoder.to(device).eval().requires_grad_(False)
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    ids, choice = tokenise(tokenizer, captions)
    seen = None if states is None or is_finished(run_dir, settings.name) else states()  # (n, 64, c)
    # Half a gigabyte for 60,000 images: a GPU holds all of it and never waits for a copy.
    latents, ids = latents.to(device), ids.to(device)

    def loss_fn(step: int, rng: np.random.Generator):
        rows, texts = draw_batch(rng, settings.batch, choice)
        clean = latents[rows.to(device)].float()  # (b, c, h, w)
        t = torch.from_numpy(stratified_timesteps(rng, settings.batch)).to(device)
        noise = torch.randn(clean.shape, generator=torch_generator(rng, device), device=device)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
        # The text tower is tiny: running it each step costs 2 %, a table of all states 2 GB.
        with torch.no_grad():
            words = text_encoder(
                input_ids=ids[texts.to(device)].long()
            ).last_hidden_state  # (b, k, c)
        with nullcontext() if alignment is None else alignment.watching():
            loss = v_loss(unet(noisy, t, words).sample, clean, noise, alpha_bar[t])
            if alignment is None:
                return loss, {}
            apart = alignment(seen[rows].to(device))
        return loss + ALIGN_WEIGHT * apart, {
            "diffusion": loss.detach(),
            "alignment": apart.detach(),
        }

    on_log = (
        _preview_maker(vae, text_encoder, tokenizer, unet, Path(run_dir), seed)
        if previews
        else None
    )
    with fast_attention(unet) if device.type == "cpu" else nullcontext():
        modules = {"unet": unet} if alignment is None else {"unet": unet, "alignment": alignment}
        fit(
            settings,
            modules,
            loss_fn,
            run_dir=run_dir,
            seed=seed,
            device=device,
            minutes=minutes,
            steps=steps,
            bf16=bf16,
            on_log=on_log,
        )
    return unet


# ---------------------------------------------------------------- previews


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """uint8 (n, h, w, 3) to one picture, row by row."""
    n, h, w, c = images.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * columns, h, w, c), 255, np.uint8)
    sheet[:n] = images
    return sheet.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)


def sample_preview(pipeline: StableDiffusionPipeline, seed: int) -> np.ndarray:
    """The fixed prompts, uint8 (8, 128, 128, 3); the same noise each time, so that progress shows."""
    from diffusers import DPMSolverMultistepScheduler

    scheduler = pipeline.scheduler
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(PREVIEW_PROMPTS))]
    images = pipeline(
        list(PREVIEW_PROMPTS),
        num_inference_steps=PREVIEW_STEPS,
        guidance_scale=PREVIEW_GUIDANCE,
        generator=generators,
        output_type="np",
    ).images  # (8, 128, 128, 3) in [0, 1]
    pipeline.scheduler = scheduler
    return (images * 255).round().astype(np.uint8)


def save_png(path: Path, image: np.ndarray) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    atomic_write_bytes(path, buffer.getvalue())


def _preview_maker(vae, text_encoder, tokenizer, unet, run_dir: Path, seed: int):
    """A callback for the loop that draws a grid with the averaged weights every ten minutes."""
    last = time.monotonic()

    def on_log(step: int, ema: Ema | None) -> None:
        nonlocal last
        if time.monotonic() - last < PREVIEW_MINUTES * 60:
            return
        pipeline = build_pipeline(vae, text_encoder, tokenizer, unet)
        with torch.no_grad():
            if ema is None:
                images = sample_preview(pipeline, seed)
            else:
                with ema.swapped_in():
                    images = sample_preview(pipeline, seed)
        save_png(run_dir / f"preview-{step:07d}.png", grid(images, 4))
        last = time.monotonic()

    return on_log
