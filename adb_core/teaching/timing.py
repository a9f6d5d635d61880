"""Whether something is faster, asked so that a slow moment of the machine does not answer."""

from __future__ import annotations

from collections.abc import Callable

from ..system.timing import Ratio, interleave, ratio


def times_faster(
    slow: Callable[[], object], fast: Callable[[], object], rounds: int = 7, warmup: int = 1
) -> Ratio:
    """How many times as long ``slow`` takes as ``fast``: the median of the rounds, and quartiles.

    Both run in turn, and who begins changes from round to round.
    """
    import torch

    times = interleave({"slow": slow, "fast": fast}, rounds, torch.device("cpu"), warmup)
    return ratio(times["slow"], times["fast"])
