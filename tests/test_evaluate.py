"""All metrics at once, on random models; a metric is one function and one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import tiny_base, tiny_concept
from two_encoders import two_encoder_base

from adb_core.concept import Concept
from adb_core.generation import Generation
from adb_core.judges import load_clip, load_judge
from adb_core.loading import BaseModelError
from adb_core.metrics import (
    MODEL_METRICS,
    PICTURE_METRICS,
    LeftOut,
    MetricError,
    evaluate_result,
    photo_maps,
    score_pictures,
)
from adb_core.personalization import personalize
from adb_core.recipes import recipe
from adb_core.result import load_result


class FakeJudge:
    """Knows a picture by its mean color; finds every first thing that can be asked."""

    def read(self, images):
        n = len(images)
        return {"category": ["cat"] * n, "place": ["snow"] * n, "style": ["photo"] * n}

    def identity(self, images):
        mean = np.asarray(images, float).mean((1, 2))
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def masked_concept() -> Concept:
    concept = tiny_concept(count=2)
    masks = []
    for image in concept.images:
        mask = np.zeros(image.shape[:2], bool)
        mask[8:24, 8:24] = True
        masks.append(mask)
    return replace(
        concept, masks=tuple(masks), info={"photos": [{"place": "snow"}, {"place": None}]}
    )


def short_result(name: str, **changes):
    plan = recipe(name)
    plan = replace(
        plan, stages=tuple(replace(s, steps=1, batch_size=2) for s in plan.stages), **changes
    )
    return personalize(tiny_base(), masked_concept(), plan, view_count=2)


PROMPTS = [
    {"prompt": "a photo of a {} on the beach", "asks": {"style": "photo", "place": "beach"}},
    "a photo of a {}",
]


def test_a_result_is_measured_whole_and_json_can_say_it():
    found = evaluate_result(
        short_result("attndreambooth"),
        PROMPTS,
        [0, 1, 2],
        judge=FakeJudge(),
        clip=None,
        steps=2,
        batch=4,
        drift_seeds=(0, 1),
    )
    json.dumps(found, allow_nan=False)
    scores = found["scores"]
    assert found["recipe"] == "attndreambooth" and found["concept"] == "pico"
    assert (
        scores["text"]["mean"] == 0.5
        and scores["text"]["count"] == 3
        and scores["category"]["mean"] == 1.0
    )
    assert scores["leakage"]["mean"] == 1.0 and scores["leakage"]["count"] == 3
    assert found["by_label"]["style"]["mean"] == 1.0 and found["by_label"]["place"]["mean"] == 0.0
    assert {
        "identity",
        "pointing",
        "iou",
        "pointing_category",
        "ratio",
        "overlap_others",
        "drift_pixels",
    } <= set(scores)
    assert len(found["values"]["identity"]) == 6 and found["values"]["text"][3:] == [None] * 3
    assert len(found["values"]["pointing"]) == 2 * 3 and scores["drift_pixels"]["count"] == 2
    assert set(found["left_out"]) == {"clip_i", "clip_t"}


def test_a_metric_is_one_function_and_one_line(monkeypatch):
    def brightness(pictures):
        return pictures.images.mean((1, 2, 3)) / 255

    def heads(evidence):
        raise LeftOut(f"nobody counts heads of a {evidence.pictures.concept.category}")

    monkeypatch.setitem(PICTURE_METRICS, "brightness", brightness)
    monkeypatch.setitem(MODEL_METRICS, "heads", heads)
    grey = np.full((2, 32, 32, 3), 51, np.uint8)
    assert score_pictures(grey, [{}] * 2, tiny_concept())[0]["brightness"] == pytest.approx(0.2)
    made = Generation(grey, ("a", "b"), (0, 0))
    call = dict(judge=None, clip=None, drift_seeds=(), concept=masked_concept(), generation=made)
    report = evaluate_result(tiny_base(), PROMPTS, [0], **call)
    assert report["scores"]["brightness"]["mean"] == pytest.approx(0.2)
    assert report["left_out"]["heads"] == "nobody counts heads of a cat"


def test_a_recipe_without_the_category_says_what_cannot_be_measured():
    found = evaluate_result(
        short_result("textual_inversion", vectors=2),
        PROMPTS[:1],
        [0],
        judge=None,
        clip=None,
        steps=2,
        drift_seeds=(),
    )
    assert "ratio" not in found["scores"] and "category" in found["left_out"]["ratio"]
    assert "pointing" in found["scores"] and found["left_out"]["identity"] == "no judge was given"
    assert found["left_out"]["drift_pixels"] == "no seeds for it were given"


def test_a_model_of_another_size_is_measured_without_the_bundled_judge():
    found = evaluate_result(short_result("dreambooth"), PROMPTS[:1], [0], steps=2, drift_seeds=())
    assert "32x32" in found["left_out"]["identity"] and "load_clip" in found["left_out"]["clip_i"]
    assert "identity" not in found["scores"] and "overlap_others" in found["scores"]


def test_the_base_model_is_the_control_before_training():
    found = evaluate_result(
        tiny_base(),
        PROMPTS[:1],
        [0, 1],
        concept=masked_concept(),
        judge=FakeJudge(),
        clip=None,
        steps=2,
    )
    assert (
        found["recipe"] == "base" and found["left_out"]["drift_pixels"] == "this is the base model"
    )
    assert found["scores"]["ratio"]["mean"] == pytest.approx(1.0)
    with pytest.raises(MetricError, match="pass concept="):
        evaluate_result(tiny_base(), PROMPTS, [0])


def test_another_family_of_models_is_measured_by_the_same_metrics():
    """Two text encoders, pooled states, and no cross-attention at the latents' resolution."""
    base, plan = two_encoder_base(), recipe("attndreambooth")
    plan = replace(plan, stages=tuple(replace(s, steps=1, batch_size=2) for s in plan.stages))
    result = personalize(base, masked_concept(), plan, view_count=2)
    call = dict(judge=FakeJudge(), clip=None, steps=2, drift_seeds=(0,), concept=masked_concept())
    trained = evaluate_result(result, PROMPTS[:1], [0], **call)
    before = evaluate_result(base, PROMPTS[:1], [0], **call)
    new = trained["scores"].keys() - before["scores"].keys()
    assert new == {"drift_pixels", "overlap_category"}  # a base model is its own category
    assert {"identity", "pointing", "ratio", "overlap_others"} <= before["scores"].keys()
    assert before["scores"]["ratio"]["mean"] == pytest.approx(1.0)


def test_no_training_is_no_drift_and_a_moved_unet_is():
    base, concept = tiny_base(), masked_concept()
    plan = recipe("textual_inversion")  # only the row moves: plain prompts must not change at all
    plan = replace(plan, stages=(replace(plan.stages[0], steps=1, batch_size=2),))
    result = personalize(base, concept, plan, view_count=2)
    call = dict(judge=None, clip=None, steps=2, drift_seeds=(0, 1))
    assert (
        evaluate_result(result, PROMPTS[1:], [0], **call)["scores"]["drift_pixels"]["mean"] == 0.0
    )
    with torch.no_grad():
        for parameter in result.learner.unet.parameters():
            parameter.add_(0.05)
    assert evaluate_result(result, PROMPTS[1:], [0], **call)["scores"]["drift_pixels"]["mean"] > 0


def test_pictures_made_already_are_used_and_foreign_ones_refused():
    result = short_result("attndreambooth")
    grey = Generation(np.full((2, 32, 32, 3), 128, np.uint8), ("a", "b"), (0, 0))
    found = evaluate_result(
        result, PROMPTS, [0], judge=FakeJudge(), clip=None, drift_seeds=(), generation=grey
    )
    assert (
        len(found["values"]["identity"]) == 2
        and "without recording" in found["left_out"]["overlap_others"]
    )
    with pytest.raises(MetricError, match="not 2 pictures"):
        evaluate_result(result, PROMPTS, [0, 1], judge=None, clip=None, generation=grey)
    with pytest.raises(MetricError, match="at least one"):
        evaluate_result(result, [], [0])


def test_a_saved_result_is_measured_with_its_concept(tmp_path):
    result, base = short_result("attndreambooth", vectors=2), tiny_base()
    folder = result.save_pretrained(tmp_path / "model")
    saved = load_result(folder, device="cpu")
    call = dict(concept=masked_concept(), judge=FakeJudge(), clip=None, steps=2, drift_seeds=(0,))
    found, live = (
        evaluate_result(saved, PROMPTS[:1], [0], base=base, **call),
        evaluate_result(result, PROMPTS[:1], [0], **call),
    )
    assert found["recipe"] == "attndreambooth" and found["scores"].keys() == live["scores"].keys()
    for name, values in live["values"].items():
        assert found["values"][name] == pytest.approx(values, abs=1e-4), name
    assert (
        "pass base=" in evaluate_result(saved, PROMPTS[:1], [0], **call)["left_out"]["drift_pixels"]
    )


def test_photo_maps_know_v_and_category():
    maps = photo_maps(short_result("attndreambooth"), masked_concept(), times=(300,))
    assert set(maps) == {"v", "category"} and maps["v"].shape == (2, 1, 16, 16)
    assert not np.array_equal(maps["v"], maps["category"])


def test_missing_judge_and_clip_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ADB_DATA", str(tmp_path))
    for load in (load_judge, load_clip):
        with pytest.raises(BaseModelError, match="cannot be loaded"):
            load()
