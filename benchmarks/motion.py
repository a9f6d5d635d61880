"""The motion module against a walk, shared self-attention, no module, and clips that are true.

    python benchmarks/motion.py [--concept pico] [--seeds 4] [--motion FOLDER]

Eight frames of a personalized subject on the beach, for every motion and seed; means over seeds.
``identity``, ``leaps`` and ``flicker`` are those of ``beyond.measure_steadiness``; ``travel`` is
how far the subject's middle goes between neighbors, in percent of the picture's side; ``follows``
is the correlation of its track with the motion that was asked for (x of a walk, height of a jump,
width of a turn). The track is read from the maps of [V], for true clips too: what true clips have
is the most that can be had, and frames of seeds of their own are the least.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from timing import bundled_base, machine

import adb_core as adb
from adb_core.beyond.moves import track, track_masks
from adb_core.system.commands import run_command
from adb_core.teaching.world import true_clip

PROMPT, PLACE = "a photo of a {} on the beach", "beach"
COLUMNS = ("identity", "leaps", "flicker", "travel", "walk", "jump", "turn")


def row(model, frames: np.ndarray, judge, photos: np.ndarray) -> dict[str, float]:
    """The numbers of one clip."""
    steady = adb.beyond.measure_steadiness(frames, judge.identity, photos).means
    found = track(model, PROMPT, frames)
    follows = {kind: found.follows(kind) for kind in ("walk", "jump", "turn")}
    return {**steady, "travel": 100 * found.travel, **follows}


def clips(model, motion, concept, seed: int) -> dict[str, np.ndarray]:
    """Name of a way to draw -> its frames, uint8 (f, h, w, 3)."""
    stops, count = [(PROMPT, seed), (PROMPT, seed + 100)], motion.frames
    own = list(range(1000 + 10 * seed, 1000 + 10 * seed + count))
    made = {"seeds of their own": adb.generate(model, PROMPT, own).images}
    for name, shared in (("walk through noise", False), ("the same, shared attention", True)):
        made[name] = adb.beyond.walk(model, stops, count, shared=shared).frames
    made["no module, shared noise"] = adb.beyond.move(model, PROMPT, motion, None, seed).frames
    for kind in motion.kinds:
        made[f"module: {kind}"] = adb.beyond.move(model, PROMPT, motion, kind, seed).frames
    for kind in motion.kinds:
        made[f"true: {kind}"] = true_clip(concept, kind, PLACE, seed).frames
    return made


def main(
    concept: Annotated[str, typer.Option(help="A bundled one.")] = "pico",
    recipe: Annotated[str, typer.Option(help="That it is learned by.")] = "attndreambooth",
    seeds: Annotated[int, typer.Option(min=1, help="Clips of each kind.")] = 4,
    motion: Annotated[Path | None, typer.Option(help="Its folder; data/motion.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="A PNG of the first seed's frames.")] = None,
) -> None:
    """Measure how well a personalized subject moves."""
    base, shown = bundled_base("cpu"), adb.Concept.bundled(concept)
    module = adb.beyond.load_motion(base, motion)
    model = adb.teaching.trained(base, shown, recipe)
    judge, photos = adb.load_judge(), shown.squares(base.side)
    print(f"{machine(torch.device('cpu'))}; {concept}, {recipe}, {seeds} seeds, {PROMPT!r}")
    numbers: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        made = clips(model, module, shown, seed)
        if sheet is not None and not seed:
            rows = [np.concatenate(list(frames), 1) for frames in made.values()]
            sheet.write_bytes(adb.pictures.png(np.concatenate(rows)))
        for name, frames in made.items():
            numbers.setdefault(name, []).append(row(model, frames, judge, photos))
    print("| | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
    for name, found in numbers.items():
        means = (np.mean([each[column] for each in found]) for column in COLUMNS)
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in means) + " |")
    for kind in module.kinds:
        of_masks = track_masks(true_clip(shown, kind, PLACE).masks)
        print(f"true masks, {kind}: travel {100 * of_masks.travel:.2f}, "
              f"follows {of_masks.follows(kind):.2f}")  # fmt: skip


if __name__ == "__main__":
    run_command(main, "motion")
