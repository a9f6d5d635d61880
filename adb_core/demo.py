"""``make demo``: pictures of the bundled tiny model beside where each of their words looks."""

from __future__ import annotations

import argparse
import textwrap
import time
from pathlib import Path

import numpy as np
import torch

from .base import load_base
from .toyworld.grammar import STOP_WORDS
from .toyworld.maps import word_maps

PROMPTS = (
    "a photo of a red cat wearing a hat on the beach",
    "a painting of a blue robot next to a cake in the snow",
    "a sketch of a green turtle wearing glasses in the kitchen",
    "pixel art of a pink mushroom with a balloon in the city",
    "a photo of a yellow teapot on top of a drum on the moon",
    "a photo of a purple fish wearing a crown under the sea",
)
TIMESTEPS = (200, 350, 500)  # where maps are read: late enough to have a shape, early enough to need the words


@torch.inference_mode()
def sample_with_maps(pipeline, prompts: list[str], seed: int = 0, steps: int = 25, guidance: float = 5.0):
    """Sample one picture a prompt and read the attention of each of its words.

    Returns:
        images: uint8 (n, 64, 64, 3); maps: n lists of (word, (16, 16) probabilities), stop words left out.
    """
    generators = [torch.Generator("cpu").manual_seed(seed + k) for k in range(len(prompts))]
    latents = pipeline(prompts, num_inference_steps=steps, guidance_scale=guidance, generator=generators, output_type="latent").images
    pixels = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    images = pixels.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    tokenizer = pipeline.tokenizer
    ids = tokenizer(prompts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
    states = pipeline.text_encoder(ids.to(latents.device)).last_hidden_state
    noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(seed)).to(latents)
    maps = 0.0
    for t in TIMESTEPS:
        when = torch.full((len(prompts),), t, device=latents.device)
        maps = maps + word_maps(pipeline.unet, states, pipeline.scheduler.add_noise(latents, noise, when), when) / len(TIMESTEPS)
    named = []
    for row, prompt_maps in zip(ids.tolist(), maps.float().cpu().numpy()):
        words = tokenizer.convert_ids_to_tokens(row)
        named.append([(w.replace("</w>", ""), m) for w, m in zip(words, prompt_maps)
                      if not w.startswith("<|") and w.replace("</w>", "") not in STOP_WORDS])
    return images, named


def draw_grid(prompts: list[str], images: np.ndarray, named, path: Path, columns: int = 7) -> None:
    """One row a prompt: the picture, then the map of each word laid over it."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(1.5 * (columns + 1), 1.75 * len(prompts)), dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(len(prompts), columns + 1, squeeze=False)
    for row, prompt, image, maps in zip(axes, prompts, images, named):
        for ax in row:
            ax.axis("off")
        row[0].imshow(image)
        row[0].set_title("\n".join(textwrap.wrap(prompt, 26)), fontsize=7)
        for ax, (word, attention) in zip(row[1:], maps):
            heat = np.asarray(Image.fromarray(attention.astype(np.float32)).resize(image.shape[1::-1], Image.Resampling.BICUBIC))
            ax.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=255)
            ax.imshow(heat, cmap="magma", alpha=0.72)
            ax.set_title(f"{word}\nmax {attention.max():.2f}", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m adb_core.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pipeline = load_base("tiny")
    start = time.perf_counter()
    images, named = sample_with_maps(pipeline, list(PROMPTS), args.seed)
    path = args.out / "words_and_pictures.png"
    draw_grid(list(PROMPTS), images, named, path)
    print(f"{len(PROMPTS)} pictures and their word maps in {time.perf_counter() - start:.1f} s: {path}")


if __name__ == "__main__":
    main()
