"""The random numbers of a step come from (seed, stage, step) alone: a resumed run repeats them."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def step_rng(seed: int, name: str, step: int) -> np.random.Generator:
    """The random numbers of one step; independent of every other step's."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), step])


def torch_generator(
    rng: np.random.Generator, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator on ``device`` whose seed is drawn from ``rng``."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63 - 1)))
