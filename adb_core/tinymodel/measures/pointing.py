"""Whether a word's attention map peaks on what the word names (b batch, k tokens)."""

from __future__ import annotations

import numpy as np
import torch

from ...metrics.pointing import cells_on, mask_cells, pointing_hit
from ...toyworld.grammar import plain_caption
from ...toyworld.render import Rendered, render
from ...toyworld.scene import Scene
from ..maps import word_maps
from ..pipeline import Models
from ..pixels import to_pixels
from ..rows import Row, share_row
from ..tokenizer import encode

TIMES = (200, 350, 500)  # timesteps of the pointing game, of 1,000
BARS = {"category": 0.95, "object": 0.75, "accessory": 0.75, "place": 0.92}
SAID = {
    "category": "category word on the subject",
    "accessory": "accessory word on the accessory",
    "object": "second object's word on it",
    "place": "place word off subject, accessory and object",
}


def pointing_words(scene: Scene) -> dict[str, tuple[int, tuple[str, ...], bool]]:
    """What each word of the plain caption should point at.

    Returns:
        element word -> (token position, mask names, inside): the peak should lie inside their
        union, or outside. A word is one token, after the start token.
    """
    words = plain_caption(scene).split()
    aims = {
        "category": (scene.category, ("subject",), True),
        "accessory": (scene.accessory, ("accessory",), True),
        "object": (scene.object, ("object",), True),
        "place": (scene.place, ("subject", "accessory", "object"), False),
    }
    return {
        name: (len(words) - words[::-1].index(word), masks, inside)
        for name, (word, masks, inside) in aims.items()
        if word
    }


def render_maps(
    models: Models, scenes: list[Scene], seed: int, batch: int = 25
) -> tuple[list[Rendered], np.ndarray]:
    """(renders, maps (n, times, k, 16, 16)) of renders noised to ``TIMES``, plain captions."""
    noise_source = torch.Generator("cpu").manual_seed(seed)
    drawn = [render(scene, 20_000_000 + seed * 100_000 + i) for i, scene in enumerate(scenes)]
    maps = []
    for start in range(0, len(scenes), batch):
        images = np.stack([d.image for d in drawn[start : start + batch]])
        captions = [plain_caption(s) for s in scenes[start : start + batch]]
        maps.append(_maps(models.pipe, images, captions, noise_source))
    return drawn, np.concatenate(maps)


@torch.inference_mode()
def _maps(pipe, images: np.ndarray, captions: list[str], noise_source: torch.Generator):
    """Maps of every token at every timestep, float (b, times, k, 16, 16)."""
    from diffusers import DDPMScheduler

    device = pipe.unet.device
    noiser = DDPMScheduler.from_config(pipe.scheduler.config)
    pixels = to_pixels(images, device)
    latents = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
    states = pipe.text_encoder(encode(pipe.tokenizer, captions).to(device)).last_hidden_state
    noise = torch.randn(latents.shape, generator=noise_source).to(device)
    for_times = []
    for t in TIMES:
        at = torch.full((len(images),), t, device=device)
        for_times.append(word_maps(pipe.unet, states, noiser.add_noise(latents, noise, at), at))
    return torch.stack(for_times, dim=1).cpu().numpy()


def measure_pointing(scenes: list[Scene], drawn: list[Rendered], maps: np.ndarray) -> list[Row]:
    """Share of (picture, timestep) whose word map peaks where it should, and of random cells."""
    hits: dict[str, list[bool]] = {name: [] for name in BARS}
    chances: dict[str, list[float]] = {name: [] for name in BARS}
    for scene, picture, by_time in zip(scenes, drawn, maps, strict=True):
        for name, (token, elements, inside) in pointing_words(scene).items():
            mask = np.any([picture.masks[e] for e in elements], axis=0)
            if inside and not mask.any():
                continue  # the element is hidden: there is nothing to point at
            on = cells_on(mask_cells(mask, maps.shape[-2:]))
            good = on if inside else ~on
            hits[name] += [pointing_hit(word_map, good) for word_map in by_time[:, token]]
            chances[name] += [float(good.mean())] * len(by_time)
    return [
        share_row(
            "cross-attention maps",
            SAID[name],
            hits[name],
            bar,
            chance=float(np.mean(chances[name])) if chances[name] else None,
        )
        for name, bar in BARS.items()
    ]
