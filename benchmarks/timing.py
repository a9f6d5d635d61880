"""What the benchmarks share: the machine in one line, the bundled model, bars.

Times are taken by :mod:`adb_core.system.timing`.
"""

from __future__ import annotations

import platform
import sys

import torch

from adb_core.system.timing import Ratio, clock, interleave, ratio, synchronize

__all__ = [
    "Ratio",
    "bundled_base",
    "clock",
    "interleave",
    "machine",
    "ratio",
    "synchronize",
    "verdict",
]


def machine(device: torch.device) -> str:
    """One line on what this was measured on."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else platform.processor()
    threads = torch.get_num_threads()
    return f"{name or platform.machine()}, {threads} threads, torch {torch.__version__}"


def bundled_base(device: str = "auto"):
    """The bundled model, or one line that says what is missing."""
    from adb_core.base import BaseModelError, load_base

    try:
        return load_base("tiny", device=device)
    except (BaseModelError, FileNotFoundError) as error:
        sys.exit(f"this benchmark needs the bundled model: {error}")


def verdict(value: float, bar: float) -> str:
    """Whether a value that should be small is."""
    return f"{'within' if value <= bar else 'OVER'} the bar of {bar:g}"
