"""Checks of notebook 06."""

from __future__ import annotations

import numpy as np
import torch

from . import DOTS, differs


def check_1(stage_2_names) -> str | None:
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    ours = [
        f"{block}.attn2.to_q.weight",
        f"{block}.attn2.to_out.0.bias",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    ]
    others = [
        f"{block}.attn1.to_q.weight",
        f"{block}.norm2.weight",
        "conv_in.weight",
        f"{block}.ff.net.2.weight",
    ]
    names = [others[0], ours[0], others[1], ours[1], others[2], ours[2], others[3]]
    got = stage_2_names(names)
    if got is ...:
        return DOTS
    if isinstance(got, (str, int)) or got is None:
        return "it should return a list of names"
    got = list(got)
    if extra := [name for name in got if name not in ours]:
        return f"{extra[0]!r} is not a parameter of a cross-attention layer"
    if missing := [name for name in ours if name not in got]:
        return f"{missing[0]!r} is missing"
    return None if got == ours else "the names should keep their order and come once each"


def check_2(moved_names) -> str | None:
    before = {
        "a": torch.tensor([1.0, 2.0]),
        "b": torch.tensor([3.0]),
        "c": torch.tensor([[0.5, 0.25], [1.0, 1.0]]),
    }
    after = {
        "a": torch.tensor([1.0, 2.0]),
        "b": torch.tensor([3.0000002]),
        "c": torch.tensor([[0.5, 0.25], [1.0, 2.0]]),
    }
    got = moved_names(before, after)
    if got is ...:
        return DOTS
    if got is None or isinstance(got, (str, int)):
        return "it should return a set of names"
    got = set(got)
    if "a" in got:
        return "it names a tensor that is equal bit for bit"
    if "b" not in got:
        return "it misses a change in the last bits: compare bits, not 'about the same'"
    if "c" not in got:
        return "it misses a tensor in which one number of four has changed: one is enough"
    return None if got == {"b", "c"} else f"it gave the names {sorted(got)}, expected ['b', 'c']"


def check_3(map_overlap) -> str | None:
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 4)), rng.random((4, 4))
    if np.ndim(got := map_overlap(a, b)) != 0:
        return (
            "it should return one number: add up over all cells of both axes"
            if got is not None
            else "it returned nothing (None): is there a return?"
        )
    wanted = np.minimum(a / a.sum(), b / b.sum()).sum()
    if differs(map_overlap(a, 3 * a), 1.0) and not differs(got, np.minimum(a, b).sum()):
        return (
            "it is not 1 for two maps of one shape and different brightness: divide each by its "
            "sum first"
        )
    if not differs(got, np.minimum(a / a.max(), b / b.max()).sum()):
        return "divide each map by its sum, not by its largest value"
    return differs(got, wanted, "the overlap")
