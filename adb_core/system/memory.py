"""How much memory there is, how much is in use, and what to do when it runs out."""

from __future__ import annotations

import gc
from typing import Any

GIB = 2**30


def free_memory(device: Any) -> float:
    """GiB that this process can still take on a device; on a CPU, of the machine's memory.

    On CUDA with what this process's own allocator holds and does not use.
    """
    import psutil
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (free + idle) / GIB
    if device.type == "mps":
        most = torch.mps.recommended_max_memory()
        return (most - torch.mps.driver_allocated_memory()) / GIB
    return psutil.virtual_memory().available / GIB


def memory_in_use(device: Any) -> float:
    """GiB that this process holds on a device; on a CPU, of the machine's memory."""
    import psutil
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / GIB
    if device.type == "mps":
        return torch.mps.current_allocated_memory() / GIB
    return psutil.Process().memory_info().rss / GIB


def memory_text(device: Any) -> str:
    """The same for a progress bar."""
    return f"{memory_in_use(device):.1f} GiB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on a GPU or on the CPU."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # torch has no class of its own for the CPU's allocator
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def release_memory() -> None:
    """Give back what a failed attempt left: its tensors, and the allocator's blocks."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
