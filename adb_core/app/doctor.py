"""What this machine has, whether the bundled data are whole, and which tier fits."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

GIB = 2**30
LIBRARIES = ("torch", "diffusers", "transformers")
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
    return Findings(lines, advise(gpu_gib, memory), problems)


def advise(gpu_gib: float | None, memory: float | None = None) -> str:
    """Which tier fits Stable Diffusion 2.1 at 512 pixels, and why; all figures are estimates.

    Args:
        gpu_gib: free on the largest CUDA device; None where there is none.
        memory: free of the machine's own.
    """
    import torch

    from ..engine import TrainingError
    from ..recipes import recipe
    from ..tiers import SD21, TIERS, choose, estimate

    plan = recipe("attndreambooth", "paper")
    if gpu_gib is None:
        need = estimate(TIERS["cpu"], SD21, plan)
        free = "" if memory is None else f" of {memory:.1f} free"
        return (
            f"tiny fits; Stable Diffusion 2.1 wants a CUDA device, and there is no CUDA device: on "
            f"the CPU it takes {need:.1f} GiB by estimate{free}, and hours (tier cpu; "
            "--resolution 256 --batch 1 takes less)"
        )
    try:
        _, why = choose(gpu_gib, torch.device("cuda"), SD21, plan)
    except TrainingError as error:
        return f"tiny fits; Stable Diffusion 2.1 on {gpu_gib:.0f} GiB: {error}"
    sd21 = f"Stable Diffusion 2.1 on {gpu_gib:.0f} GiB: adb train --base sd21"
    return f"tiny fits, and so does {sd21} ({why})"


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
    """What is there, in words, and the GiB that are free on the largest CUDA device."""
    import torch

    from ..system.memory import free_memory

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
        free = [free_memory(torch.device("cuda", k)) for k in range(len(cards))]
        names = [
            f"CUDA {card.name}, {card.total_memory / GIB:.0f} GiB, {left:.1f} free"
            for card, left in zip(cards, free, strict=True)
        ]
        return "; ".join(names), max(free)
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
