"""Weights on the disk in another number format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .files import atomic_file

DTYPES = ("float32", "float16", "bfloat16")


def torch_dtype(name: str | None) -> dict[str, Any]:
    """A number format as a keyword for what loads weights; nothing where none was asked for."""
    import torch

    return {} if name is None else {"dtype": getattr(torch, name)}


def cast_weights(folder: str | Path, dtype: str) -> None:
    """Bring the weights of a saved model to ``dtype``, file by file, each whole or not at all.

    Only files in the parts' folders (``unet/...``) are changed: the rows of [V] and adapters are
    small, and stay as precise as they were trained.

    Raises:
        ValueError: an unknown dtype. DiskFull: no space left; what is there can still be loaded.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    wanted = getattr(torch, dtype)
    for path in sorted(Path(folder).glob("*/*.safetensors")):
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata()
        tensors = {
            name: tensor.to(wanted) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(path).items()
        }
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        with atomic_file(path, size) as temporary:
            save_file(tensors, temporary, metadata=metadata)
