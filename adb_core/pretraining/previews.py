"""Pictures drawn while the U-Net trains, in the run folder."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..provenance.record import Provenance, save_generated
from .ema import Ema
from .fit import OnLog

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

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


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """uint8 (n, h, w, 3) to one picture, row by row."""
    n, h, w, c = images.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * columns, h, w, c), 255, np.uint8)
    sheet[:n] = images
    return sheet.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)


def sample_preview(pipeline: StableDiffusionPipeline, seed: int) -> np.ndarray:
    """The fixed prompts, uint8 (8, 128, 128, 3); the same noise each time: progress shows."""
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


def preview_maker(pipeline: StableDiffusionPipeline, run_dir: Path, seed: int) -> OnLog:
    """A callback for the loop that draws a grid with the averaged weights every ten minutes."""
    last = time.monotonic()
    seeds = tuple(seed + i for i in range(len(PREVIEW_PROMPTS)))
    how = {"steps": PREVIEW_STEPS, "guidance": PREVIEW_GUIDANCE}
    about = Provenance(PREVIEW_PROMPTS, seeds, "tiny", recipe="base", **how)

    def on_log(step: int, ema: Ema | None) -> None:
        nonlocal last
        if time.monotonic() - last < PREVIEW_MINUTES * 60:
            return
        with torch.no_grad():
            if ema is None:
                images = sample_preview(pipeline, seed)
            else:
                with ema.swapped_in():
                    images = sample_preview(pipeline, seed)
        save_generated(run_dir / f"preview-{step:07d}.png", grid(images, 4), about)
        last = time.monotonic()

    return on_log
