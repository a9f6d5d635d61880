"""Where a picture shows the things that its caption names: for the weights of the U-Net's loss.

Masks of all scenes, at the latents' resolution. Places fill four fifths of a picture and are
learned first; a mark is one or two latents wide. This module imports no torch: its worker
processes start quickly.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..system.files import atomic_write_bytes
from ..system.fingerprints import fingerprint
from ..toyworld.render import SIZE, render_masks
from ..toyworld.scene import Scene, scene_from_dict
from .cache import Cache, code_hash
from .workers import as_made

THINGS = ("subject", "accessory", "object")
CELL = 8  # pixels of a side of a latent
PART = 2000  # scenes that a worker does at a time


def things_share(scene: Scene, seed: int) -> np.ndarray:
    """uint8 (16, 16): which share of each latent the things cover, 255 is all of it."""
    side, fine = SIZE // CELL, SIZE // 2  # half the resolution is fine enough for shares
    masks = render_masks(scene, seed, fine)
    covered = np.logical_or.reduce([masks[name] for name in THINGS])
    blocks = covered.reshape(side, fine // side, side, fine // side)
    return np.rint(255 * blocks.mean((1, 3))).astype(np.uint8)


def _part(first: int, scenes: list[dict]) -> tuple[int, np.ndarray]:
    """Of the scenes ``first``, ``first`` + 1, ..."""
    made = [things_share(scene_from_dict(item), first + k) for k, item in enumerate(scenes)]
    return first, np.stack(made)


def build_things(
    cache: Cache, folder: Path, *, workers: int | None = None, progress: bool = True
) -> np.ndarray:
    """:func:`things_share` of a cache's pictures, uint8 (n, 16, 16).

    Args:
        folder: keeps them, in a file that is named after what they were made from.
        workers: processes; None uses all cores.
    """
    from tqdm.auto import tqdm

    scenes = [record["scene"] for record in cache.records]
    key = fingerprint([code_hash(), str(len(scenes)), repr(scenes[:: max(1, len(scenes) // 64)])])
    path = Path(folder) / f"things-{key[:16]}.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    shares = np.empty((len(scenes), SIZE // CELL, SIZE // CELL), dtype=np.uint8)
    jobs = [(first, scenes[first : first + PART]) for first in range(0, len(scenes), PART)]
    with tqdm(total=len(scenes), desc="things", unit="scene", disable=not progress) as bar:
        for first, made in as_made(_part, jobs, workers):
            shares[first : first + len(made)] = made
            bar.update(len(made))
    buffer = io.BytesIO()
    np.save(buffer, shares)
    atomic_write_bytes(path, buffer.getvalue())
    return shares
