"""Which way of reading attention is faster: explicit softmax, the fused kernel, or not reading.

    python benchmarks/attention_paths.py [--model tiny --model sd] [--rounds 15] [--threads 2]

``adb_core.attention.default_path`` rests on what this prints.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Annotated

import torch
import typer
from timing import bundled_base, interleave, machine, ratio

from adb_core.attention import capture_attention
from adb_core.system.commands import run_command
from adb_core.system.devices import pick_device

WORDS, COLUMNS = 77, [5, 6]  # length of SD's prompts; where [V] and the category stand
PATHS = {"no capture": None, "fused": "fused", "oracle": "oracle"}


class Unet(Enum):
    """The bundled model's, and Stable Diffusion's structure at a fifth of its width."""

    tiny = "tiny"
    sd = "sd"


def reduced_sd():
    """Stable Diffusion 1.5's block structure at a fifth of its width, random weights."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=768,
        layers_per_block=2,
        block_out_channels=(64, 128, 256, 256),
        norm_num_groups=32,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    ).eval()


def shapes(which: str, device: torch.device, batch: int | None):
    """U-Net, latents (b, c, y, x), timesteps (b,) and text states (b, k, d) of a model's shape."""
    unet = bundled_base(str(device)).unet if which == "tiny" else reduced_sd().to(device)
    b, k, size = (
        batch or (8 if which == "tiny" else 1),
        40 if which == "tiny" else WORDS,
        unet.config.sample_size,
    )
    generator = torch.Generator().manual_seed(1)
    channels = unet.config.in_channels
    latents = torch.randn(b, channels, size, size, generator=generator).to(device)
    text = torch.randn(b, k, unet.config.cross_attention_dim, generator=generator).to(device)
    return unet, latents, torch.randint(0, 1000, (b,), generator=generator).to(device), text


def forward(unet, latents, times, text, path: str | None):
    """One pass; the sum of what was captured keeps its gradient in use."""
    if path is None:
        return unet(latents, times, encoder_hidden_states=text).sample.float().square().mean()
    with capture_attention(unet, COLUMNS, path=path) as capture:
        out = unet(latents, times, encoder_hidden_states=text).sample.float().square().mean()
    return out + sum(columns.float().var() for columns in capture.layers.values())


def measure(which: str, device: torch.device, rounds: int, batch: int | None) -> None:
    """Time all three ways on one U-Net, forward and both ways, and print the ratios."""
    unet, latents, times, text = shapes(which, device, batch)
    unet.requires_grad_(True)
    side = latents.shape[-1]
    print(f"\n{which} U-Net, batch {len(latents)}, latents {side}x{side}, {text.shape[1]} tokens")

    def only_forward(path: str | None) -> None:
        with torch.no_grad():
            forward(unet, latents, times, text, path)

    def both_ways(path: str | None) -> None:
        unet.zero_grad(set_to_none=True)
        forward(unet, latents, times, text, path).backward()

    for name, run in (("forward", only_forward), ("forward + backward", both_ways)):
        sides = {label: partial(run, path) for label, path in PATHS.items()}
        seconds = interleave(sides, rounds, device)
        plain, fused, oracle = (seconds[label] for label in PATHS)
        print(
            f"  {name:20s} no capture {1000 * sorted(plain)[rounds // 2]:8.1f} ms   "
            f"fused {ratio(fused, plain)}   oracle {ratio(oracle, plain)}   "
            f"oracle / fused {ratio(oracle, fused)}"
        )


def main(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    model: Annotated[list[Unet], typer.Option(help="Which U-Nets.")] = list(Unet),
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = 15,
    batch: Annotated[int | None, typer.Option(help="Default: 8 for tiny, 1 for sd.")] = None,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Compare the ways of reading attention."""
    torch.set_num_threads(threads)
    where = pick_device(device)
    print(machine(where))
    for which in model:
        measure(which.value, where, rounds, batch)


if __name__ == "__main__":
    run_command(main, "attention_paths")
