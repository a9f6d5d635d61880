"""Parts of a model that wait elsewhere until they are used, to leave room for what trains.

On a GPU they wait in the CPU's memory, by Accelerate's hooks, which bring a part back for its
forward pass (diffusers calls them before the VAE's ``encode`` and ``decode`` too). On a CPU their
weights are mapped from a file: pages come from the disk when they are read, and the system may
forget them again. Either way a part that waits works like any other, only its first use is slower.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from .system.files import explain_disk_full

WORTH = 2**26  # bytes: smaller parts stay where they are


class Offload:
    """Parts that were sent away, and are sent away again after they have been used.

    Args:
        device: where they are used.
        folder: for the file on a CPU, whose name is gone at once; None is the system's own.
    """

    def __init__(self, device: torch.device, folder: str | Path | None = None):
        self.device, self.folder = device, folder
        self._hooks: dict[torch.nn.Module, Any] = {}
        self._waiting: set[torch.nn.Module] = set()  # of those mapped from a file

    def send(self, parts: Iterable[torch.nn.Module]) -> None:
        """Have parts wait; those that wait already, or are small, stay as they are.

        Raises:
            DiskFull: no space for the file.
        """
        for part in parts:
            if part_bytes(part) < WORTH:
                continue
            if self.device.type == "cpu":
                self._map(part)
            elif part not in self._hooks:
                from accelerate import cpu_offload_with_hook

                _, self._hooks[part] = cpu_offload_with_hook(part, self.device)
            elif next(part.parameters()).device.type != "cpu":  # it has been used since
                self._hooks[part].offload()

    def _map(self, part: torch.nn.Module) -> None:
        """Map a part from a file, anew once its pages have been read and so lie in memory."""
        if part in self._waiting or os.name == "nt":  # there an open file cannot be removed
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            map_weights(part, Path(folder) / "part.safetensors")
        if part not in self._hooks:
            for child in part.children():  # the VAE's own forward is not what is called
                child.register_forward_pre_hook(lambda *_: self._waiting.discard(part))
            self._hooks[part] = None
        self._waiting.add(part)


def part_bytes(part: torch.nn.Module) -> int:
    """Bytes of a part's parameters."""
    return sum(p.numel() * p.element_size() for p in part.parameters())


@torch.no_grad()
def map_weights(part: torch.nn.Module, path: Path) -> None:
    """Write a part's parameters to a file and read them from there, page by page, when used.

    The mapping outlives the file's name, and what is written to the parameters stays in memory.

    Raises:
        DiskFull: no space left; the part is as it was.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    named = dict(part.named_parameters())
    with explain_disk_full(path, part_bytes(part)):
        save_file({name: p.detach().contiguous() for name, p in named.items()}, path)
    with safe_open(str(path), "pt") as file:
        for name, parameter in named.items():
            parameter.data = file.get_tensor(name)
