"""The table of models, and what a model is drawn with where nobody says otherwise."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from models import tiny_base

from adb_core import recording, sampling
from adb_core.generation import GUIDANCE, STEPS, Sampling, generate
from adb_core.models import MODELS, NAMES, Defaults, drawing_defaults, find_model
from adb_core.system.paths import data_path


def test_every_model_is_pinned_licensed_and_within_bounds():
    assert len(set(NAMES)) == len(MODELS)
    for model in MODELS[1:]:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.hub_id)
        assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
        assert model.fallback is None or model.fallback != model.hub_id
        assert (model.steps, model.guidance) == (50, 7.5) and model.resolution >= 512
        assert model.license and model.prediction in ("epsilon", "v_prediction")


def test_the_bundled_model_is_what_the_table_says():
    tiny = MODELS[0]
    folder = data_path("tiny-sd")

    def config(part):
        return json.loads((folder / part).read_text())

    assert config("scheduler/scheduler_config.json")["prediction_type"] == tiny.prediction
    halvings = len(config("vae/config.json")["block_out_channels"]) - 1
    assert config("unet/config.json")["sample_size"] * 2**halvings == tiny.resolution
    assert f"license: {tiny.license}" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    "name, side, expected",
    [
        ("tiny", 128, (25, 3.0)),
        ("sd21", 512, (50, 7.5)),
        ("nota-ai/bk-sdm-v2-tiny", 512, (50, 7.5)),
        ("a/folder/of/a/toy", 64, (25, 3.0)),
        ("owner/model", 768, (50, 7.5)),
    ],
)
def test_steps_and_guidance_are_the_models_own(name, side, expected):
    assert drawing_defaults(name, side) == expected
    assert (STEPS, GUIDANCE) == (25, 3.0)
    assert find_model("owner/model") is None


def test_what_is_asked_for_goes_before_the_models_own():
    base = tiny_base()
    own = Sampling().of(base)
    assert (own.steps, own.guidance) == (25, 3.0)
    real = Sampling(guidance=2.0).of(replace(base, name="sdxl"))
    assert (real.steps, real.guidance) == (50, 2.0)


def test_pictures_and_recordings_take_the_models_own(monkeypatch):
    base = tiny_base()
    monkeypatch.setattr(sampling, "drawing_defaults", lambda name, side: Defaults(2, 4.0))
    asked = generate(base, "a cat", [1], steps=2, guidance=4.0).images
    assert np.array_equal(generate(base, "a cat", [1]).images, asked)
    recorded = recording.record(base, "a cat", seed=1)
    assert recorded.steps == 2 and np.array_equal(recorded.image, asked[0])
