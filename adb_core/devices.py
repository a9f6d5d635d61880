"""Which processor to run on."""

from __future__ import annotations


def pick_device(name: str = "auto"):
    """A torch device; "auto" is CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: an unknown device, or one that is not here.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, here in there.items() if here))
    kind = name.split(":")[0]
    if kind not in there:
        raise ValueError(f"unknown device {name!r}: choose auto, cpu, cuda or mps")
    if not there[kind]:
        raise ValueError(f"device {name!r} is not available on this machine: use auto or cpu")
    return torch.device(name)
