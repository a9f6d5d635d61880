"""What the demo notes down while the recipe runs: pictures after each stage, and the drift."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ... import plots
from ...drift import Projection
from ...generation import STEPS, Generation, generate
from ...records import StepRecord, by_stage, last_tenth
from ...result import Result
from ...system.paths import data_path

# From simple to complex: the first prompt of each bundled set.
PROMPTS = tuple((f"complexity_{count}", 0) for count in range(6))
DRIFT_POINTS = 20  # records a stage: enough for a smooth line


def demo_prompts() -> list[dict]:
    """The six prompts, simple ones first.

    Returns:
        {"prompt": text with ``{}``, "asks": what a picture should show} for each.
    """
    sets = {
        name: json.loads(data_path("prompts", f"{name}.json").read_text(encoding="utf-8"))
        for name, _ in PROMPTS
    }
    return [sets[name]["prompts"][number] for name, number in PROMPTS]


@dataclass
class Diary:
    """Watches a run: :meth:`start` before it, :meth:`step` and :meth:`stage` on the way.

    Attributes:
        prompts: entries as of :func:`demo_prompts`; each is drawn with ``seed`` after each stage.
        steps: sampling steps of the pictures.
        pictures: (label, generation with the maps of all words), before and after each stage.
        points: the drift; seconds: spent on pictures.
    """

    prompts: Sequence[dict]
    seed: int
    steps: int = STEPS
    progress: bool = True
    say: Callable[[str], None] = print
    pictures: list[tuple[str, Generation]] = field(default_factory=list)
    points: list[plots.DriftPoint] = field(default_factory=list)
    seconds: float = 0.0
    done: int = 0

    @property
    def texts(self) -> list[str]:
        return [prompt["prompt"] for prompt in self.prompts]

    @property
    def titles(self) -> list[str]:
        """The prompts as figures show them."""
        return [text.replace("{}", "[V]") for text in self.texts]

    def start(self, result: Result) -> None:
        """Before the first step: the words around [V], and the untrained model's pictures."""
        self.result = result
        token = result.token
        known = np.setdiff1d(np.arange(len(token.tokenizer)), token.ids)
        table = token.text_encoder.get_input_embeddings().weight.detach()
        self.vocabulary = table[torch.from_numpy(known)]  # (words, d)
        self.projection = Projection(self.vocabulary)
        self._note_drift("")
        self._draw("before training")

    def step(self, record: StepRecord) -> None:
        """After every step: now and then, where [V] is."""
        self.done += 1
        every = max(1, record.steps // DRIFT_POINTS)
        if record.step in (1, record.steps) or record.step % every == 0:
            self._note_drift(record.stage)

    def stage(self, name: str) -> None:
        """After a stage: its line, and the model's pictures."""
        stages = by_stage(self.result.history)
        records = stages[name]
        last = last_tenth(records)
        self.say(
            f"  {name}: {len(records)} steps in {sum(r.seconds for r in records):.1f} s, "
            f"loss {np.mean([r.loss for r in last]):.3f} over the last {len(last)}"
        )
        self._draw(f"after stage {len(stages)}: {name}")

    def _note_drift(self, stage: str) -> None:
        token = self.result.token
        x, y = self.projection(token.rows.detach().mean(0)).tolist()
        self.points.append(plots.DriftPoint(self.done, stage, token.drift(), (x, y)))

    def _draw(self, label: str) -> None:
        began = time.perf_counter()
        how = {"steps": self.steps, "maps": True, "progress": self.progress}
        drawn = generate(self.result, self.texts, seeds=[self.seed], **how)
        self.pictures.append((label, drawn))
        self.seconds += time.perf_counter() - began

    def named_words(self) -> dict[str, tuple[float, float]]:
        """Where in the projection the words are that end nearest to [V], and its category."""
        token = self.result.token
        near = [word for word, _ in self.points[-1].drift.nearest]
        table = token.text_encoder.get_input_embeddings().weight.detach()
        places = {}
        for word in dict.fromkeys([*near, token.category]):
            ids = token.tokenizer(word, add_special_tokens=False).input_ids
            if ids:
                places[word] = tuple(self.projection(table[ids].mean(0)).tolist())
        return places
