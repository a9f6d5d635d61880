"""The one seam to a model: everything that the method asks of a diffusion model comes from here.

``seam.py`` says what is asked, in a few lines; ``families/`` answers it, for models with one text
encoder and with two; ``loading.py`` reads the parts and says why one cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from . import loading
from .families import FAMILIES, StableDiffusion, StableDiffusionXL
from .loading import BaseModelError, Source
from .seam import Base, Drawable, Posterior, Text, TextStates
from .system.company import mind_company
from .system.devices import pick_device
from .system.heap import keep_heap

__all__ = [
    "FAMILIES",
    "Base",
    "BaseModelError",
    "Drawable",
    "Posterior",
    "Source",
    "StableDiffusion",
    "StableDiffusionXL",
    "Text",
    "TextStates",
    "load_base",
]


def load_base(
    name: str = "tiny",
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    check: Callable[[Base], object] | None = None,
) -> Base:
    """Load a model for personalization.

    Args:
        name: of a model in ``models.py``, as "tiny" (bundled) or "sd21" (the paper's, from the
            hub); or a hub id, or a diffusers folder.
        revision: a hub commit or tag.
        dtype: of the weights; half precision serves for generating, training wants float32.
        check: is given the model as its configurations describe it, with tokenizers and on torch's
            device "meta", before weights are downloaded or read; what it raises ends the loading.

    Raises:
        BaseModelError: missing, damaged, gated or unreachable; one line with the cure.
    """
    try:
        where = pick_device(device)
    except ValueError as error:
        raise BaseModelError(str(error)) from error
    mind_company()
    keep_heap()
    kinds = {kind: family.FOLDERS for kind, family in FAMILIES.items()}
    source = loading.find_source(name, revision, kinds)
    kind = loading.check_kind(name, loading.load_index(source).get("_class_name"), kinds)
    loading.check_hub_files(source, kinds[kind])
    family = FAMILIES[kind]
    if check is not None:
        check(family.load(replace(source, hollow=True), torch.device("meta"), dtype))
    return family.load(source, where, dtype)
