"""The optimizers: AdamW in one fused pass, or with moments in 8 bits (Dettmers et al. 2022)."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from .engine import TrainingError
from .learner import Learner
from .recipes import Stage


def make_optimizer(learner: Learner, stage: Stage, kind: str | None = None) -> torch.optim.AdamW:
    """AdamW over the stage's parameters; the rows of [V] may have their own learning rate.

    Args:
        kind: "adamw" or "adam8bit"; None is what the learner's options say.

    Raises:
        TrainingError: 8 bits without bitsandbytes, or without a GPU.
    """
    named = learner.parameters(stage)
    rows = [p for name, p in named.items() if name.startswith("token.")]
    rest = [p for name, p in named.items() if not name.startswith("token.")]
    groups = [
        {"params": parameters, "lr": lr}
        for parameters, lr in ((rows, stage.embedding_lr or stage.lr), (rest, stage.lr))
        if parameters
    ]
    how: dict[str, Any] = {
        "betas": stage.betas,
        "weight_decay": stage.weight_decay,
        "eps": stage.eps,
    }
    if (kind or learner.options.optimizer) == "adam8bit":
        check_8bit(learner.base.device)
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, **how)
    fused = learner.base.device.type in ("cpu", "cuda")  # one pass over the weights instead of six
    return _with_moments(torch.optim.AdamW(groups, **how, fused=fused))


def can_8bit(device: torch.device) -> bool:
    """Whether moments can be kept in 8 bits: bitsandbytes is installed, and the device is CUDA."""
    return device.type == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def check_8bit(device: torch.device) -> None:
    """The same, before any work.

    Raises:
        TrainingError: they cannot; says what is missing.
    """
    if device.type != "cuda":
        raise TrainingError(
            f"8-bit Adam runs on CUDA, not on {device.type}: use the optimizer 'adamw'"
        )
    if not can_8bit(device):
        raise TrainingError(
            "8-bit Adam needs a package that is not installed: pip install bitsandbytes, "
            "or use the optimizer 'adamw'"
        )


def _with_moments(optimizer: torch.optim.AdamW) -> torch.optim.AdamW:
    """With its moments allocated, as its first step would: what does not fit fails before that."""
    fused = optimizer.defaults["fused"]
    for group in optimizer.param_groups:
        for p in group["params"]:
            optimizer.state[p] = {
                "step": torch.zeros((), device=p.device if fused else "cpu"),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
            }
    return optimizer


def steps_taken(optimizer: torch.optim.Optimizer) -> set[int]:
    """How often each parameter was updated: one number, but for an update that was cut short."""
    return {int(state["step"]) for state in optimizer.state.values() if "step" in state}


def kind_of(optimizer: torch.optim.Optimizer) -> str:
    """The name of an optimizer of :func:`make_optimizer`."""
    return "adamw" if type(optimizer) is torch.optim.AdamW else "adam8bit"
