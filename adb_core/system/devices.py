"""Which processor to run on, and how many of its cores."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Of psutil's times, where a system has them: all but idle and waiting for disks.
BUSY = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
MIXED_PRECISIONS = ("auto", "no", "bf16", "fp16")  # see adb_core.training.make_accelerator


def pick_device(name: str = "auto"):
    """A torch device; "auto" is CUDA, then Apple's MPS, then the CPU.

    Under ``accelerate launch`` the CUDA device is this process's own.

    Raises:
        ValueError: an unknown device, or one that is not here.
    """
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        kind = next(kind for kind, here in there.items() if here)
        if kind == "cuda" and "LOCAL_RANK" in os.environ:
            return torch.device(kind, int(os.environ["LOCAL_RANK"]))
        return torch.device(kind)
    kind = name.split(":")[0]
    if kind not in there or not re.fullmatch(r"[a-z]+(:\d+)?", name):
        raise ValueError(f"unknown device {name!r}: choose auto, cpu, cuda, cuda:N or mps")
    if not there[kind]:
        raise ValueError(f"device {name!r} is not available on this machine: use auto or cpu")
    device = torch.device(name)
    if kind == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ValueError(f"device {name!r} is not here: this machine has cuda:0 to cuda:{last}")
    return device


def has_bf16(device="cpu") -> bool:
    """Whether bf16 is quicker than float32 here.

    It is with bf16 instructions; elsewhere it is several times slower.
    """
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


@contextmanager
def tf32(wanted: bool | None) -> Iterator[None]:
    """Within, float32 products on NVIDIA GPUs may use TF32's shorter mantissa, or may not.

    None leaves torch's own choice: convolutions may, matrix products may not.
    """
    import torch

    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches if wanted is not None else ():
            switch.allow_tf32 = wanted
        yield
    finally:
        for switch, was in zip(switches, before, strict=True):
            switch.allow_tf32 = was


def busy_elsewhere(seconds: float = 0.4) -> float | None:
    """How many cores other programs keep busy, watched for a moment.

    Time that a virtual machine is denied by its host counts as theirs. None where the system does
    not say.
    """
    import psutil

    def used() -> tuple[float, float]:
        """Seconds of all cores together, and those of this process."""
        cores, own = psutil.cpu_times(), os.times()
        return sum(getattr(cores, name, 0.0) for name in BUSY), own.user + own.system

    try:
        (all_before, own_before), began = used(), time.monotonic()
        time.sleep(seconds)
        (all_after, own_after), took = used(), time.monotonic() - began
    except (OSError, RuntimeError):
        return None
    return max(0.0, (all_after - all_before) - (own_after - own_before)) / took
