"""The demo's numbers: what ``metrics.json`` and ``drift.json`` say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch

from ... import plots
from ...loading import BaseModelError
from ...records import SERIES, StepRecord, by_stage, last_tenth
from .diary import Diary


def measure(diary: Diary, seed: int) -> dict:
    """The last stage's pictures and maps, measured by :mod:`adb_core.metrics`.

    Returns:
        Its dict, or {"left_out": {"everything": why}} where the bundled judges are not there.
    """
    from ...metrics import evaluate_result

    try:
        return evaluate_result(
            diary.result,
            prompts=diary.prompts,
            seeds=[seed],
            generation=diary.pictures[-1][1],
            steps=diary.steps,
        )
    except (BaseModelError, FileNotFoundError) as error:
        return {"left_out": {"everything": str(error)}}


def drift_numbers(points: Sequence[plots.DriftPoint]) -> list[dict]:
    """The drift as plain numbers, one entry a point."""
    return [{"step": p.step, "stage": p.stage, "at": list(p.at), **asdict(p.drift)} for p in points]


def stage_numbers(records: Sequence[StepRecord]) -> dict:
    """One stage's steps and seconds; loss and attention statistics of its last tenth."""
    end = last_tenth(records)
    means = {
        name: float(np.mean([np.mean(getattr(r, name)) for r in end]))
        for name in SERIES
        if all(getattr(r, name) for r in end)
    }
    return {
        "steps": len(records),
        "seconds": round(sum(r.seconds for r in records), 3),
        "loss": float(np.mean([r.loss for r in end])),
        **means,
    }


def numbers_of(diary: Diary, evaluation: dict, seconds: dict[str, float]) -> dict:
    """What ``metrics.json`` says."""
    result = diary.result
    learner = result.learner
    stages = {name: stage_numbers(records) for name, records in by_stage(result.history).items()}
    return {
        "concept": learner.concept.name,
        "recipe": learner.recipe.name,
        "base": learner.base.name,
        "seed": learner.seed,
        "device": str(learner.base.device),
        "threads": torch.get_num_threads(),
        "stages": stages,
        "drift": asdict(diary.points[-1].drift),
        "evaluation": evaluation,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
