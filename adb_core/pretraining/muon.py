"""``torch.optim.Muon`` with all matrices of one shape in one product, for GPUs.

The library orthogonalizes one matrix after another, with some 27 small kernels each: for the 133
matrices of this package's U-Net that can take a GPU longer than forward and backward pass. They
have 36 shapes. ``benchmarks/pretraining_step.py`` measures both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def orthogonalized(stack: Tensor, group: dict) -> Tensor:
    """Newton-Schulz iterations, as of ``torch.optim.Muon``, on a stack of matrices (n, r, c).

    Args:
        group: of the optimizer; its ns_coefficients, ns_steps and eps are used.

    Returns:
        bfloat16 (n, r, c).
    """
    a, b, c = group["ns_coefficients"]
    x = stack.bfloat16()
    tall = stack.shape[1] > stack.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.transpose(1, 2)  # (n, s, s), s the shorter side
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, update, x, beta=a)
    return x.transpose(1, 2) if tall else x


class StackedMuon(torch.optim.Muon):
    """The same steps as the library's Muon with ``match_rms_adamw``, to bfloat16's rounding."""

    @torch.no_grad()
    def step(self, closure=None):
        if closure is not None:
            raise ValueError("a closure is not supported")
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for (rows, columns), matrices in shapes.items():
                buffers = [self._buffer(p) for p in matrices]
                gradients = [p.grad for p in matrices]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                if group["nesterov"]:
                    updates = torch._foreach_lerp(gradients, buffers, group["momentum"])
                else:
                    updates = buffers
                turned = orthogonalized(torch.stack(updates), group).to(matrices[0].dtype)
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                size = 0.2 * math.sqrt(max(rows, columns)) * group["lr"]
                torch._foreach_add_(matrices, list(turned.unbind()), alpha=-size)

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p.grad)
        return state["momentum_buffer"]
