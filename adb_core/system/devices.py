"""Which processor to run on, and how many of its cores."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

MIXED_PRECISIONS = ("auto", "no", "bf16", "fp16")  # see adb_core.training.make_accelerator


def pick_device(name: str = "auto"):
    """A torch device; "auto" is CUDA (under ``accelerate launch`` this process's own GPU), then Apple's MPS, then the CPU.

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
        return (
            torch.device(kind, int(os.environ["LOCAL_RANK"]))
            if kind == "cuda" and "LOCAL_RANK" in os.environ
            else torch.device(kind)
        )
    kind = name.split(":")[0]
    if kind not in there or not re.fullmatch(r"[a-z]+(:\d+)?", name):
        raise ValueError(f"unknown device {name!r}: choose auto, cpu, cuda, cuda:N or mps")
    if not there[kind]:
        raise ValueError(f"device {name!r} is not available on this machine: use auto or cpu")
    device = torch.device(name)
    if kind == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not here: this machine has cuda:0 to cuda:{torch.cuda.device_count() - 1}"
        )
    return device


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


def busy_elsewhere(seconds: float = 0.4) -> float | None:
    """How many cores other programs keep busy, watched for a moment; None where the system does not say (Linux does)."""

    def ticks() -> tuple[float, float]:
        numbers = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        own = os.times()
        return sum(numbers) - numbers[3] - numbers[
            4
        ], own.user + own.system  # all but idle and waiting for disks

    try:
        (all_before, mine_before), began = ticks(), time.monotonic()
        time.sleep(seconds)
        (all_after, mine_after), took = ticks(), time.monotonic() - began
        return (
            max(
                0.0,
                (all_after - all_before) / os.sysconf("SC_CLK_TCK") - (mine_after - mine_before),
            )
            / took
        )
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def share_cores() -> int:
    """Let torch use the cores that nobody else uses, one at least; returns how many that are.

    torch's threads wait for one another many times in a step. If another program holds one of the
    cores, all wait for the thread that shares it: on two cores a step then takes four times as
    long, and with one thread on the free core 1.6 times (``benchmarks/waiting.py``).
    The number of threads can change the last digits of results, so only notebooks call this;
    ``OMP_NUM_THREADS`` in the environment is obeyed.
    """
    import torch

    threads = torch.get_num_threads()
    busy = None if "OMP_NUM_THREADS" in os.environ else busy_elsewhere()
    if busy is not None and busy > 0.5:
        free = (os.cpu_count() or threads) - round(busy)
        torch.set_num_threads(max(1, min(threads, free)))
    return torch.get_num_threads()
