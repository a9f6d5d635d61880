"""Running averages of weights while they train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Running average of the modules' floating parameters; their buffers are copied.

    The decay warms up as (1 + step) / (10 + step), so that the random start is soon forgotten.
    """

    def __init__(self, modules: dict[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self.live, self.live_copied = _state_tensors(modules)
        self.mean = {k: v.detach().clone() for k, v in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.mean.values()), [v.detach() for v in self.live.values()], 1 - decay
        )

    def tensors(self) -> dict[str, Tensor]:
        """Averages and copied buffers by state-dict name."""
        return {**self.mean, **{k: v.detach() for k, v in self.live_copied.items()}}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        for key, value in self.mean.items():
            value.copy_(tensors[key])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The modules wear the averaged weights inside (for previews), the raw ones afterwards."""
        raw = {k: v.detach().clone() for k, v in self.live.items()}
        with torch.no_grad():
            torch._foreach_copy_(list(self.live.values()), list(self.mean.values()))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(self.live.values()), list(raw.values()))


def _state_tensors(modules: dict[str, nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(float parameters, everything else in the state dicts), live tensors named module/key."""
    averaged, copied = {}, {}
    for prefix, module in modules.items():
        parameters = {
            k for k, p in module.named_parameters(remove_duplicate=False) if p.is_floating_point()
        }
        for key, value in module.state_dict(keep_vars=True).items():
            (averaged if key in parameters else copied)[f"{prefix}/{key}"] = value
    return averaged, copied
