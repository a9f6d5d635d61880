"""What this machine has, whether the bundled data are whole, and which preset fits."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

GIB = 2**30
LIBRARIES = ("torch", "diffusers", "transformers")
# Stable Diffusion 2.1's U-Net has 866 million parameters: 3.2 GiB in float32. Weights, gradients
# and AdamW's two moments are four times that, 13 GiB; the rest is room for the activations of
# batch 8 at 512 pixels. An estimate from the arithmetic, not a measurement.
PAPER_GIB = 40
DISK_GIB = 1.0
MEMORY_GIB = 1.0  # make demo takes 0.7 at its peak, libraries included


@dataclass(frozen=True)
class Findings:
    """(name, text) lines to print, one sentence of advice, and what must be mended first."""

    lines: list[tuple[str, str]]
    advice: str
    problems: list[str]


def examine(folder: str | Path = ".") -> Findings:
    """Look at this machine; ``folder`` is where results would be written."""
    gpu, gpu_gib = _gpu()
    data, problems = _data()
    place = Path(folder).resolve()
    free, memory = shutil.disk_usage(folder).free / GIB, _free_memory()
    if free < DISK_GIB:
        problems.append(f"only {free:.1f} GiB free at {place}: free some space")
    if memory < MEMORY_GIB:
        problems.append(
            f"only {memory:.1f} GiB of memory free, and {MEMORY_GIB:g} are needed: "
            "close other programs and notebooks"
        )
    system = f"{platform.system()} {platform.machine()}"
    libraries = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    lines = [
        ("python", f"{platform.python_version()} on {system}"),
        ("libraries", ", ".join(libraries)),
        ("processor", _cpu()),
        ("memory", _memory()),
        ("accelerator", gpu),
        ("disk", f"{free:.1f} GiB free at {place}"),
        *data,
    ]
    return Findings(lines, advise(gpu_gib), problems)


def advise(gpu_gib: float | None) -> str:
    """Which preset fits an accelerator of that memory; None is none."""
    if gpu_gib is not None and gpu_gib >= PAPER_GIB:
        return (
            "tiny fits, and so does paper (Stable Diffusion at 512 pixels): "
            "adb train --base sd21 --preset paper --mixed-precision bf16"
        )
    there = "no CUDA device" if gpu_gib is None else f"a CUDA device of {gpu_gib:.0f} GiB"
    return (
        "tiny fits; paper (Stable Diffusion at 512 pixels) wants a CUDA device of about "
        f"{PAPER_GIB} GiB by estimate, and there is {there}"
    )


def _cpu() -> str:
    import torch

    from ..system.devices import has_bf16

    process = psutil.Process()
    # macOS does not tie a process to cores.
    usable = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count()
    bf16 = (
        "with bfloat16 instructions"
        if has_bf16()
        else "without bfloat16 instructions (bf16 would be slow here)"
    )
    kind = torch.backends.cpu.get_cpu_capability()
    return f"{usable} usable cores, {torch.get_num_threads()} torch threads, {kind}, {bf16}"


def _memory() -> str:
    return f"{psutil.virtual_memory().total / GIB:.1f} GiB"


def _free_memory() -> float:
    """GiB that programs can still take."""
    return psutil.virtual_memory().available / GIB


def _gpu() -> tuple[str, float | None]:
    """What is there, in words, and the memory of the largest CUDA device in GiB."""
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
        names = [f"CUDA {card.name}, {card.total_memory / GIB:.0f} GiB" for card in cards]
        return "; ".join(names), max(card.total_memory for card in cards) / GIB
    if torch.backends.mps.is_available():
        most = torch.mps.recommended_max_memory() / GIB
        return f"Apple MPS, recommended at most {most:.0f} GiB", None
    return "none", None


def _data() -> tuple[list[tuple[str, str]], list[str]]:
    """One line for each part of the bundled data, and the problems of those that are needed."""
    from ..loading import BaseModelError

    checks = {
        "concepts": (_concepts, True),
        "prompts": (_prompts, True),
        "tiny model": (_model, True),
        "judge": (_judge, False),
        "tiny CLIP": (_clip, False),
    }
    lines, problems = [], []
    for name, (check, needed) in checks.items():
        try:
            lines.append((name, check()))
        except (OSError, ValueError, BaseModelError) as error:
            text = " ".join(str(error).split())
            lines.append((name, f"NOT USABLE: {text}"))
            problems += [text] if needed else []
    return lines, problems


def _concepts() -> str:
    from ..concept import Concept, bundled_concepts

    names = [name for half in bundled_concepts().values() for name in half]
    pictures = sum(len(Concept.bundled(name).images) for name in names)
    return f"{len(names)} with {pictures} pictures, all readable"


def _prompts() -> str:
    import json

    from ..system.paths import data_path

    files = sorted(data_path("prompts").glob("*.json"))
    count = sum(len(json.loads(f.read_text(encoding="utf-8"))["prompts"]) for f in files)
    return f"{count} in {len(files)} sets"


def _model() -> str:
    from ..loading import check_model_folder
    from ..system.paths import data_path

    return f"whole, at {check_model_folder(data_path('tiny-sd'))}"


def _clip() -> str:
    from ..judges import check_clip_folder
    from ..system.paths import data_path

    return f"whole, at {check_clip_folder(data_path('tiny-clip'))}"


def _judge() -> str:
    from ..judges import load_judge

    load_judge()
    return "whole"
