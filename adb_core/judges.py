"""The outside eyes of the measurements: the bundled judge of the toy world, and a CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .concept import Concept
from .loading import BaseModelError, quiet
from .system.devices import pick_device
from .system.paths import data_path
from .tinymodel.checks import check_clip_folder

if TYPE_CHECKING:
    from .tinymodel.judge import Judge


def load_judge(device: str = "cpu") -> Judge:
    """The bundled judge of the toy world's pictures, which scores a model from outside.

    Returns:
        An object with ``read(images)`` (label -> the likeliest word of each picture) and
        ``identity(images)`` (unit vectors, (n, 64)), for uint8 images (n, side, side, 3) of
        :func:`judged_side`. Where a picture has no place, no accessory, ..., its word is "plain"
        or "none".

    Raises:
        BaseModelError: the bundled judge is missing or damaged.
    """
    from .tinymodel.judge import Judge

    try:
        return Judge.load(data_path("judge")).to(pick_device(device))
    except (FileNotFoundError, ValueError) as error:
        raise BaseModelError(f"the judge cannot be loaded: {error}") from error


def judged_side() -> int:
    """Side in pixels of the pictures that the bundled judge and CLIP know.

    Raises:
        BaseModelError: the bundled judge is missing or damaged.
    """
    from .tinymodel.judge import read_config

    try:
        return read_config(data_path("judge")).size
    except (FileNotFoundError, ValueError) as error:
        raise BaseModelError(f"the judge cannot be loaded: {error}") from error


def true_pictures(
    concept: Concept, asks: Sequence[Mapping[str, str]], seeds: Sequence[int]
) -> np.ndarray:
    """A drawn concept in the scenes that prompts ask for: what a perfect model would make.

    Args:
        asks: n dicts, label -> word, as in ``data/prompts``.

    Returns:
        uint8 (n * seeds, side, side, 3), prompt by prompt.

    Raises:
        ValueError: the concept is not the toy world's, or a word is not.
    """
    from .toyworld.scene import instance_from_dict
    from .toyworld.truth import true_picture

    if "instance" not in concept.info:
        raise ValueError(
            f"the truth about {concept.name!r} is not known: only concepts that the toy world has "
            "drawn have true pictures"
        )
    who, side = instance_from_dict(concept.info["instance"]), judged_side()
    pictures = [
        true_picture(concept.category, who, dict(asked), seed, side)
        for asked in asks
        for seed in seeds
    ]
    return np.stack(pictures)


@dataclass
class Clip:
    """A CLIP model (``transformers.CLIPModel``) with its tokenizer and image processor."""

    name: str
    model: torch.nn.Module
    tokenizer: Any
    processor: Any


def load_clip(name: str = "tiny", device: str = "cpu") -> Clip:
    """A CLIP that compares pictures with pictures and with texts.

    Args:
        name: "tiny" (bundled; knows the toy world only), a hub id such as
            "openai/clip-vit-large-patch14", or a folder.

    Raises:
        BaseModelError: missing, damaged or unreachable.
    """
    try:
        with quiet():
            from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

            source = check_clip_folder(data_path("tiny-clip")) if name == "tiny" else name
            model = CLIPModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
            return Clip(
                name,
                model.requires_grad_(False).eval().to(pick_device(device)),
                CLIPTokenizer.from_pretrained(source),
                CLIPImageProcessor.from_pretrained(source),
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:240]
        raise BaseModelError(f"the CLIP {name!r} cannot be loaded: {reason}") from error
