"""Where a step of the tiny U-Net's pretraining goes on this device.

    python benchmarks/pretraining_step.py --batch 1024          on CUDA
    python benchmarks/pretraining_step.py --batch 8 --rounds 2  the script itself, tried on a CPU

Forward and backward pass as they are and compiled, and Muon's step by the library and stacked by
shape; each pair takes turns. First, how far the gradients of the plain pass under autocast and of
the compiled one are from float32's.
"""

from __future__ import annotations

import copy
from typing import Annotated

import torch
import typer
from timing import bundled_base, interleave, machine, ratio

from adb_core.pretraining.muon import StackedMuon
from adb_core.pretraining.optimizers import as_matrix, is_matrix
from adb_core.system.commands import run_command


def passes(unet, net, inputs, bf16: bool = True) -> torch.Tensor:
    """Forward and backward pass; returns all gradients as one vector."""
    unet.zero_grad(set_to_none=True)
    with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=bf16):
        net(*inputs).sample.float().square().mean().backward()
    return torch.cat([p.grad.float().flatten() for p in unet.parameters()])


def muons(unet) -> dict[str, torch.optim.Optimizer]:
    """The library's Muon and the stacked one, on copies of the U-Net's matrices."""
    sides = {}
    for name, kind in (("library", torch.optim.Muon), ("stacked", StackedMuon)):
        weights = [p for p in copy.deepcopy(unet).parameters() if is_matrix(p)]
        matrices = [torch.nn.Parameter(as_matrix(p.detach(), like=p)) for p in weights]
        for matrix in matrices:
            matrix.grad = torch.randn_like(matrix)
        sides[name] = kind(matrices, lr=1e-6, adjust_lr_fn="match_rms_adamw")
    return sides


def compare(name: str, sides: dict, rounds: int, device: torch.device) -> None:
    """Both sides in turn: seconds of each, and how many times as long the first takes."""
    times = interleave(sides, rounds, device, warmup=2)
    (one, slow), (other, fast) = times.items()
    middle = {k: 1000 * sorted(v)[len(v) // 2] for k, v in times.items()}
    print(
        f"{name}: {one} {middle[one]:.1f} ms, {other} {middle[other]:.1f} ms, {ratio(slow, fast)}",
        flush=True,
    )


def main(
    batch: Annotated[int, typer.Option(min=1, help="samples a step")] = 1024,
    rounds: Annotated[int, typer.Option(min=2, help="of each side")] = 20,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
) -> None:
    """Measure both pairs and print a line for each."""
    base = bundled_base(device)
    where, unet = base.device, base.unet.train().requires_grad_(True)
    if where.type == "cuda":
        unet.to(memory_format=torch.channels_last)
    print(f"{machine(where)}, batch {batch}")
    channels, side, width = unet.config.in_channels, base.latent_side, 128
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(batch, channels, side, side, generator=generator).to(where),
        torch.randint(0, 1000, (batch,), generator=generator).to(where),
        torch.randn(batch, 40, width, generator=generator).to(where),
    ]
    net = torch.compile(unet, dynamic=False)
    exact = passes(unet, unet, inputs, bf16=False)
    for name, side_net in (("plain", unet), ("compiled", net)):
        apart = (passes(unet, side_net, inputs) - exact).norm() / exact.norm()
        print(f"{name} pass in bf16: gradients {float(apart):.4f} from float32's", flush=True)
    both = {"plain": unet, "compiled": net}
    turns = {k: (lambda v=v: passes(unet, v, inputs)) for k, v in both.items()}
    compare("forward and backward", turns, rounds, where)
    compare("Muon's step", {k: v.step for k, v in muons(unet).items()}, rounds, where)


if __name__ == "__main__":
    run_command(main, "pretraining_step")
