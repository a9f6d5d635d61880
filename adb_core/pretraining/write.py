"""The trained models as folders that plain libraries load, in half precision."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..system.files import atomic_save_pretrained, atomic_write_json
from ..tinymodel.card import RECORD
from ..tinymodel.judge import Judge
from ..tinymodel.pipeline import build_pipeline
from .stage_files import log_line

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import (
        CLIPImageProcessorPil as CLIPImageProcessor,
        CLIPModel,
        CLIPTextModel,
        CLIPTokenizer,
    )

FOLDERS = ("tiny-sd", "tiny-clip", "judge")
# stage: the folder of what it trains
PARTS = {"vae": "tiny-sd/vae", "clip": "tiny-clip", "judge": "judge", "unet": "tiny-sd/unet"}
SIZE_LIMIT_MB = 40.0  # of everything written under data/, for it is committed


@dataclass(frozen=True)
class Trained:
    """What pretraining ends with. ``clip``: model, tokenizer, image processor."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    clip: tuple[CLIPModel, CLIPTokenizer, CLIPImageProcessor]
    judge: Judge


def write_models(data: Path, run: Path, trained: Trained, record: Sequence[dict] = ()) -> float:
    """Write tiny-sd, tiny-clip and judge in half precision; each folder is swapped in whole.

    They grow in the run folder, so that a kill leaves nothing half-written in ``data``.

    Args:
        record: what was trained, of :func:`.record.training_record`; written beside the pipeline.

    Returns:
        Size of the three in MB.
    """

    def save_pipeline(folder: Path) -> None:
        _save_pipeline(folder, trained)
        if record:
            atomic_write_json(folder / RECORD, list(record))

    saves: dict[str, Callable[[Path], object]] = {
        "tiny-sd": save_pipeline,
        "tiny-clip": lambda folder: _save_clip(folder, trained),
        "judge": trained.judge.save,
    }
    for name, save in saves.items():
        atomic_save_pretrained(save, data / name, staging=run / "staging")
    files = [p for name in saves for p in (data / name).rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) / 1e6
    too_large = f": more than the {SIZE_LIMIT_MB:g} MB that may be committed"
    note = "" if size <= SIZE_LIMIT_MB else too_large
    log_line(run, f"write: {', '.join(saves)} in {data}, {size:.1f} MB{note}")
    return size


def _half(module):
    """A half-precision copy on the CPU; contiguous, since safetensors keeps no memory formats."""
    return copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).half().eval()


def _save_pipeline(folder: Path, trained: Trained) -> None:
    halves = (_half(trained.vae), _half(trained.text_encoder))
    pipeline = build_pipeline(*halves, trained.clip[1], _half(trained.unet))
    pipeline.save_pretrained(folder, safe_serialization=True)
    _load_in_float32(folder / "text_encoder")
    for path in folder.glob("*/config.json"):
        _forget_origin(path)


def _save_clip(folder: Path, trained: Trained) -> None:
    model, tokenizer, processor = trained.clip
    _half(model).save_pretrained(folder)
    _load_in_float32(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)


def _forget_origin(path: Path) -> None:
    """diffusers notes the folder that a part was read from, which is nobody else's business."""
    said = json.loads(path.read_text())
    if said.pop("_name_or_path", None) is not None:
        atomic_write_json(path, said)


def _load_in_float32(folder: Path) -> None:
    """Half precision is for the disk only, and what loads must run.

    transformers loads in what the configuration says, diffusers in float32: a plain
    ``from_pretrained`` would mix the two, and the pipeline fail.
    """
    path = folder / "config.json"
    atomic_write_json(path, {**json.loads(path.read_text()), "dtype": "float32"})
