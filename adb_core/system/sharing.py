"""A second module over the same weights: its own layers, hooks and structure, no further memory."""

from __future__ import annotations

import copy
from itertools import chain
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def shared_copy(module: Module) -> Module:
    """A copy of a module's structure whose parameters and buffers are the original's own.

    What is added to the copy, or replaced in it, is not in the original; what is written into a
    shared tensor is in both.
    """
    tensors = chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
