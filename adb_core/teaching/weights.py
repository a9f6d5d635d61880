"""What a training has changed, bit for bit."""

from __future__ import annotations

from torch import Tensor

from ..learner import Learner


def copy_weights(learner: Learner) -> dict[str, Tensor]:
    """Copies of all weights of U-Net and text encoder, by name: "unet ...", "text encoder ..."."""
    parts = {"unet": learner.unet, "text encoder": learner.token.text_encoder}
    return {
        f"{part} {name}": tensor.detach().clone()
        for part, module in parts.items()
        for name, tensor in module.named_parameters()
    }


def changed_weights(before: dict[str, Tensor], learner: Learner) -> dict[str, int]:
    """How many numbers of each tensor are no longer the same; tensors without any are left out."""
    after = copy_weights(learner)
    counts = {name: int((before[name] != after[name]).sum()) for name in before}
    return {name: count for name, count in counts.items() if count}
