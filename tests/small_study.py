"""A study small enough for tests: a random model, short recipes, a judge of colors.

Run as a program it makes the study of :func:`small_plan` in the folder that it is given, so that
tests can kill it, or start it twice.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from models import short, tiny_base

from adb_core.metrics import ceilings
from adb_core.recipes import recipe
from adb_core.study import bench as bench_module, cell as cell_module, plan as plan_module
from adb_core.study.bench import Bench, weights_of
from adb_core.study.plan import Plan
from adb_core.study.run import run_study

SIDE = 32
LABELS = {
    "category": ("cat", "dog", "robot"),
    "place": ("plain", "beach", "snow"),
    "style": ("photo", "sketch"),
}
PROMPTS = (
    {"prompt": "a photo of a {}", "asks": {"style": "photo"}},
    {"prompt": "a photo of a {} on the beach", "asks": {"style": "photo", "place": "beach"}},
)


class SmallJudge(torch.nn.Module):
    """Tells pictures apart by the colors of their quarters, and words by their brightness."""

    def __init__(self, tint: float = 0.0):
        super().__init__()
        self.register_buffer("tint", torch.tensor(tint))
        self.config = SimpleNamespace(size=SIDE, labels=LABELS)

    def identity(self, images) -> np.ndarray:
        cells = np.asarray(images, float).reshape(-1, 2, SIDE // 2, 2, SIDE // 2, 3).mean((2, 4))
        flat = cells.reshape(len(cells), -1) + 1 + float(self.tint)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    def read(self, images) -> dict[str, list[str]]:
        levels = np.asarray(images, float).mean((1, 2, 3)).astype(int)
        return {name: [words[k % len(words)] for k in levels] for name, words in LABELS.items()}


def small_plan(**changes) -> Plan:
    settings = dict(
        recipes=("textual_inversion", "attndreambooth"),
        concepts=("pico",),
        seeds=(0,),
        prompts=PROMPTS,
        moments=3,
        steps=2,
        truth=2,
        word_prompts=1,
        spread=2,
        unrelated=1,
    )
    return Plan(**(settings | changes))


def small_bench(plan: Plan | None = None, seed: int = 0, tint: float = 0.0) -> Bench:
    """Of a random model; another ``seed`` is another model, another ``tint`` another judge."""
    base, judge = tiny_base(seed=seed), SmallJudge(tint)
    known = {"base model": base.fingerprint(), "judge": weights_of(judge), "CLIP": "none"}
    return Bench(base, plan or small_plan(), judge, LABELS, None, known)


def small_pictures(concept, asks, seeds) -> np.ndarray:
    """Stand in for the drawn truth: the photos, in turn."""
    photos = concept.squares(SIDE)
    return np.stack([photos[(k + s) % len(photos)] for k in range(len(asks)) for s in seeds])


def short_recipe(name: str):
    return short(recipe(name), steps=2)


def make_small(patch=setattr) -> None:
    """Recipes are short and the truth is small; ``patch`` may be monkeypatch's."""
    patch(ceilings, "true_pictures", small_pictures)
    patch(plan_module, "recipe", short_recipe)
    patch(cell_module, "named", short_recipe)
    patch(cell_module, "SAVE_SECONDS", 0.0)


def main(folder: str, pause: float) -> None:
    make_small()
    measure = Bench.moment

    def slowly(self, *about):
        time.sleep(pause)
        return measure(self, *about)

    bench_module.Bench.moment = slowly
    torch.set_num_threads(1)
    for _ in run_study(small_bench(), Path(folder), lambda line: print(line, flush=True)):
        pass


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
