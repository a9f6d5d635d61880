"""People in photos, pointed out before anything is learned from them.

By a small detector from the hub, fetched only if it is asked for: none comes with the packages that
this project needs. What it finds is a reason to ask, and what it misses is no permission.

Axes: n photos; boxes are (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .explaining import quiet
from .images import ConceptError

# YOLOS (Fang et al. 2021, arXiv 2106.00666): 26 MB, Apache-2.0, finds persons among 80 kinds.
DETECTOR, REVISION = "hustvl/yolos-tiny", "1a00cc14a139ff40bac9aa00c745915cb7b5b751"
PERSON = "person"
SURE = 0.7  # of 1, from which on a find is told

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Detector:
    """A model that finds persons. processor: cuts and scales pictures for it."""

    name: str
    model: Any
    processor: Any


def load_detector(name: str | Path = DETECTOR, device: str = "cpu") -> Detector:
    """The detector of a hub id or a folder, in safetensors.

    Raises:
        ConceptError: it cannot be loaded, or knows no persons; one line with the cure.
    """
    name = str(name)
    revision = REVISION if name == DETECTOR else None
    try:
        with quiet():
            from transformers import AutoImageProcessor, AutoModelForObjectDetection

            model = AutoModelForObjectDetection.from_pretrained(
                name, revision=revision, use_safetensors=True
            )
            processor = AutoImageProcessor.from_pretrained(name, revision=revision)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConceptError(
            f"the detector {name!r} cannot be loaded ({reason}): connect to the hub once, name a "
            "folder that holds it, or look for people yourself"
        ) from error
    if PERSON not in model.config.id2label.values():
        raise ConceptError(f"the detector {name!r} does not know persons: name another one")
    return Detector(name, model.requires_grad_(False).eval().to(device), processor)


@torch.inference_mode()
def find_people(images: Sequence[np.ndarray], detector: Detector) -> list[list[Box]]:
    """Where each of n photos, uint8 (h, w, 3), shows a person; the surest first."""
    found = []
    for image in images:
        height, width = image.shape[:2]
        given = detector.processor(images=image, return_tensors="pt").to(detector.model.device)
        answer = detector.processor.post_process_object_detection(
            detector.model(**given), threshold=SURE, target_sizes=[(height, width)]
        )[0]
        names = detector.model.config.id2label
        order = answer["scores"].argsort(descending=True).tolist()
        people = [k for k in order if names[int(answer["labels"][k])] == PERSON]
        limit = torch.tensor([width, height, width, height])
        boxes = answer["boxes"].cpu().round().clamp(min=0)
        found.append([_box(torch.minimum(boxes[k], limit)) for k in people])
    return found


def _box(ends: torch.Tensor) -> Box:
    left, top, right, bottom = (int(end) for end in ends)
    return left, top, right, bottom


def people_remarks(found: Sequence[Sequence[Box]], names: Sequence[str]) -> list[str]:
    """A line for each photo with people in it, and one if there is none.

    Args:
        found: see :func:`find_people`; names: of the photos.
    """
    lines = []
    for name, boxes in zip(names, found, strict=True):
        if boxes:
            who = "a person" if len(boxes) == 1 else f"{len(boxes)} people"
            where = "; ".join(
                f"{left}, {top} to {right}, {bottom}" for left, top, right, bottom in boxes
            )
            lines.append(f"{name} shows {who} (pixels {where}): did they agree to be learned?")
    return lines or ["no people were found, which is no proof: look yourself"]
