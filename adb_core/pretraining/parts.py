"""Rows of numbers that are computed once: kept in parts on the disk, and read where they lie.

A part is a file that is written whole or not at all, so that a kill loses one part's work. Its name
holds what it was made from and the checksum of its numbers: stale parts are removed, and a damaged
one is made anew.

Axes: n rows, b of them.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..system.files import atomic_write_bytes, sweep
from .stage_files import log_line

PART = 2048  # rows; of patch states 34 MB, and some seconds of work


@dataclass(frozen=True)
class Parts:
    """Rows in several files, mapped: of what is asked for, the system reads what it has not yet.

    Attributes:
        arrays: (size, ...) each, the last one (at most size, ...). size: rows of a part.
    """

    arrays: tuple[np.ndarray, ...]
    size: int

    def __len__(self) -> int:
        return sum(len(array) for array in self.arrays)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The rows (b,) of integers from 0 on: (b, ...), a copy.

        Raises:
            IndexError: a row that is not there.
        """
        numbers = rows.numpy()
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"rows must be from 0 to {len(self) - 1}")
        first = self.arrays[0]
        found = np.empty((len(numbers), *first.shape[1:]), first.dtype)
        of = numbers // self.size
        for part in np.unique(of):
            mine = of == part
            found[mine] = self.arrays[part][numbers[mine] - part * self.size]
        return torch.from_numpy(found)


def kept_parts(
    folder: Path,
    key: str,
    count: int,
    make: Callable[[int, int], np.ndarray],
    *,
    size: int = PART,
    progress: bool = True,
) -> Parts:
    """What ``make`` makes, from the folder as far as it is there.

    Args:
        folder: of these parts alone, in a run's folder; what is not of ``key`` is removed.
        key: a fingerprint of all that the numbers depend on.
        count: of rows. make: the rows from one number up to another, (rows, ...).

    Raises:
        DiskFull: no space left; what was written stays.
    """
    from tqdm.auto import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    for path in folder.glob("*.npy"):
        if not path.name.startswith(f"{key}-{size}-"):
            path.unlink()
    arrays = []
    starts = range(0, count, size)
    for start in tqdm(starts, desc=folder.name, unit="part", disable=not progress):
        stop = min(start + size, count)
        array = _stored(folder, f"{key}-{size}-{start:08d}", stop - start)
        if array is None:
            array = _written(folder, f"{key}-{size}-{start:08d}", make(start, stop))
        arrays.append(array)
    return Parts(tuple(arrays), size)


def _written(folder: Path, stem: str, rows: np.ndarray) -> np.ndarray:
    """Keep a part; returns it as it lies on the disk, so that memory holds no second copy."""
    rows = np.ascontiguousarray(rows)
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    path = folder / f"{stem}-{zlib.crc32(rows):08x}.npy"
    atomic_write_bytes(path, buffer.getvalue())
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _stored(folder: Path, stem: str, count: int) -> np.ndarray | None:
    """A part of so many rows that is there and whole; a damaged one is removed, and said so."""
    for path in folder.glob(f"{stem}-*.npy"):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if len(array) == count and path.stem == f"{stem}-{zlib.crc32(array):08x}":
                return array
        except (ValueError, EOFError, OSError, TypeError):
            pass  # cut short, or not an array at all
        path.unlink()
        log_line(folder.parent, f"{folder.name}: {path.name} was damaged, and is made anew")
    return None
