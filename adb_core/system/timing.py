"""Fair comparisons: both sides in one process, turn by turn, and a ratio with its spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch


class Ratio(NamedTuple):
    """Median of the rounds' ratios, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x ({self.low:.2f} to {self.high:.2f})"


def ratio(times: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Round by round, how many times as long as the reference: median and quartiles."""
    if len(times) != len(reference) or not len(times):
        counts = f"{len(times)} and {len(reference)}"
        raise ValueError(f"both sides need the same number of rounds, got {counts}")
    each = np.asarray(times, float) / np.asarray(reference, float)
    low, median, high = np.quantile(each, [0.25, 0.5, 0.75])
    return Ratio(float(median), float(low), float(high))


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done what it was told; the CPU always has."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def clock(action: Callable[[], object], device: torch.device) -> float:
    """Seconds that one call takes."""
    synchronize(device)
    began = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - began


def interleave(
    sides: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warmup: int = 2
) -> dict[str, list[float]]:
    """Time every side once a round; whoever goes first changes from round to round.

    A machine that slows down for a while then slows all sides alike.
    """
    for action in sides.values():
        for _ in range(warmup):
            action()
    times: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(clock(sides[name], device))
    return times
