"""The tiny model's parts together: as a plain Stable Diffusion pipeline, and under test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models import TINY
from ..toyworld.render import SIZE
from .checks import BadFolder, check_clip_folder, check_model_folder
from .judge import Judge
from .unet import build_sampler

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

# Chosen once with --tune-guidance, on combinations that are NOT held out.
STEPS, GUIDANCE = TINY.steps, TINY.guidance


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
        scheduler=build_sampler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@dataclass
class Models:
    """Everything under test, float32, in eval mode on one device."""

    pipe: StableDiffusionPipeline
    clip: CLIPModel
    tokenizer: CLIPTokenizer
    judge: Judge


def load_models(data: str | Path, device: str) -> Models:
    """Load ``tiny-sd``, ``tiny-clip`` and ``judge`` from ``data``.

    Raises:
        ValueError: a folder is missing or damaged (one line with file and cure).
    """
    from transformers import CLIPModel

    data = Path(data)
    check_model_folder(data / "tiny-sd")
    check_clip_folder(data / "tiny-clip")
    judge = Judge.load(data / "judge").to(device)
    pipe = load_pipe(data / "tiny-sd", device)
    clip = CLIPModel.from_pretrained(data / "tiny-clip", dtype=torch.float32).to(device).eval()
    return Models(pipe, clip, pipe.tokenizer, judge)


def load_pipe(folder: Path, device: str) -> StableDiffusionPipeline:
    """A plain diffusers pipeline with the folder's own sampler.

    Raises:
        BadFolder: it does not load.
    """
    from diffusers import StableDiffusionPipeline

    try:
        pipe = StableDiffusionPipeline.from_pretrained(folder)
        pipe = pipe.to(device, torch.float32)  # half on disk
    except (OSError, ValueError, RuntimeError, KeyError) as error:  # e.g. shapes against the config
        raise BadFolder(f"{folder} does not load ({str(error).splitlines()[0]})") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(
    pipe: StableDiffusionPipeline,
    prompts: list[str],
    *,
    seed: int,
    guidance: float = GUIDANCE,
    batch: int = 25,
) -> np.ndarray:
    """uint8 (n, 128, 128, 3); picture i starts from seed ``seed + i``, whatever the batch."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            noise = [torch.Generator("cpu").manual_seed(seed + start + i) for i in range(len(part))]
            out = pipe(
                part,
                num_inference_steps=STEPS,
                guidance_scale=guidance,
                generator=noise,
                height=SIZE,
                width=SIZE,
                output_type="np",
            )
            parts.append((out.images * 255).round().astype(np.uint8))
    return np.concatenate(parts)
