"""In which precision the model computes."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from ..system.devices import has_bf16


def autocast(device: torch.device | str, bf16: bool | None = None):
    """bf16 autocast where it helps (``bf16`` None), or as told; else a context without effect."""
    use = has_bf16(device) if bf16 is None else bf16
    return torch.autocast(torch.device(device).type, torch.bfloat16) if use else nullcontext()
