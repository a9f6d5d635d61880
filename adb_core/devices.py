"""Which processor to run on."""

from __future__ import annotations

from pathlib import Path


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


def has_bf16(device="cpu") -> bool:
    """Whether bf16 is quicker than float32 here: only with bf16 instructions; elsewhere it is several times slower."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    try:
        flags = torch.cpu.get_capabilities()
        return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    except (AttributeError, RuntimeError):  # older torch
        info = Path("/proc/cpuinfo")
        text = info.read_text() if info.exists() else ""
        return "avx512_bf16" in text or "amx_bf16" in text
