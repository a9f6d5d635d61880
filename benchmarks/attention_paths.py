"""Which way of reading attention is faster: explicit softmax, the fused kernel's extra columns, or not reading.

    python benchmarks/attention_paths.py [--device auto] [--model tiny sd] [--rounds 15] [--threads 2]

``adb_core.attention.default_path`` rests on what this prints.
"""

from __future__ import annotations

import argparse

import torch
from timing import bundled_base, interleave, machine, ratio

from adb_core.attention import capture_attention
from adb_core.system.devices import pick_device

WORDS, COLUMNS = 77, [5, 6]  # length of SD's prompts; where [V] and the category stand


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
    """U-Net, latents (b, 4, y, x), timesteps (b,) and text states (b, k, d) of a model's shape."""
    unet = bundled_base(str(device)).unet if which == "tiny" else reduced_sd().to(device)
    b, k, size = (
        batch or (8 if which == "tiny" else 1),
        32 if which == "tiny" else WORDS,
        unet.config.sample_size,
    )
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(b, 4, size, size, generator=generator).to(device)
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
    unet, latents, times, text = shapes(which, device, batch)
    unet.requires_grad_(True)

    def only_forward(path):
        with torch.no_grad():
            forward(unet, latents, times, text, path)

    def both_ways(path):
        unet.zero_grad(set_to_none=True)
        forward(unet, latents, times, text, path).backward()

    print(
        f"\n{which} U-Net, batch {len(latents)}, latents {latents.shape[-1]}x{latents.shape[-1]}, {text.shape[1]} tokens"
    )
    for name, run in (("forward", only_forward), ("forward + backward", both_ways)):
        sides = {
            "no capture": lambda: run(None),
            "fused": lambda: run("fused"),
            "oracle": lambda: run("oracle"),
        }
        found = interleave(sides, rounds, device)
        plain = found["no capture"]
        print(
            f"  {name:20s} no capture {1000 * sorted(plain)[rounds // 2]:8.1f} ms   "
            f"fused {ratio(found['fused'], plain)}   oracle {ratio(found['oracle'], plain)}   "
            f"oracle / fused {ratio(found['oracle'], found['fused'])}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", nargs="+", choices=("tiny", "sd"), default=["tiny", "sd"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, help="default: 8 for tiny, 1 for sd")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    print(machine(device))
    for which in args.model:
        measure(which, device, args.rounds, args.batch)


if __name__ == "__main__":
    main()
