"""What a perfect model would score: the true pictures, as they are and through a VAE."""

import json

import numpy as np
import pytest
import torch
from models import tiny_base

from adb_core import Concept, load_judge
from adb_core.judges import judged_side, true_pictures
from adb_core.metrics import MetricError, ceiling, round_trip, score_pictures
from adb_core.system.paths import data_path

ASKS = [{"style": "photo", "place": "moon"}, {"style": "photo", "accessory": "hat"}]


def test_true_pictures_go_prompt_by_prompt_at_the_judges_size():
    concept, side = Concept.bundled("pico"), judged_side()
    drawn = true_pictures(concept, ASKS, [3, 4])
    assert drawn.shape == (4, side, side, 3) and drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[2:], true_pictures(concept, ASKS[1:], [3, 4]))
    assert not np.array_equal(drawn[0], drawn[1])


def test_the_ceiling_is_the_score_of_those_pictures():
    concept, judge = Concept.bundled("pico"), load_judge()
    found = ceiling(concept, ASKS, [0, 1], judge=judge)
    images = true_pictures(concept, ASKS, [0, 1])
    values, _ = score_pictures(images, [a for a in ASKS for _ in (0, 1)], concept, judge=judge)
    assert found.keys() == {"drawn"}
    for name in ("identity", "text"):
        assert found["drawn"][name].mean == pytest.approx(values[name].mean())
        assert found["drawn"][name].count == 4


def test_a_round_trip_is_the_vaes_and_does_not_depend_on_the_batch():
    base = tiny_base()
    images = np.random.default_rng(0).integers(0, 256, (5, base.side, base.side, 3), np.uint8)
    rounded = round_trip(base, images, batch=2)
    assert rounded.shape == images.shape and rounded.dtype == np.uint8
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        decoded = base.vae.decode(base.vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
    expected = (decoded.permute(0, 2, 3, 1).numpy() + 1) * 127.5
    assert np.abs(rounded - expected).max() <= 1


def test_what_has_no_truth_is_refused_in_one_line(tmp_path):
    concept = Concept.bundled("pico")
    with pytest.raises(MetricError, match="at least one prompt"):
        ceiling(concept, [], [0])
    with pytest.raises(ValueError, match="unknown place 'attic'"):
        ceiling(concept, [{"place": "attic"}], [0])
    if tiny_base().side != judged_side():
        with pytest.raises(MetricError, match="another|pixels"):
            ceiling(concept, ASKS, [0], base=tiny_base())
    stranger = Concept("rex", concept.images, "<rex>", "cat")
    with pytest.raises(ValueError, match="the truth about 'rex' is not known"):
        ceiling(stranger, ASKS, [0])


def test_true_pictures_score_near_one():
    """Every prompt of the hardest set, one concept of each half; text is what was asked for."""
    judge = load_judge()
    asks = [
        e["asks"]
        for e in json.loads(data_path("prompts", "complexity_5.json").read_text())["prompts"]
    ]
    for name in ("pico", "zorro"):
        found = ceiling(Concept.bundled(name), asks, [0], judge=judge)["drawn"]
        assert found["text"].mean > 0.9 and found["identity"].mean > 0.6, (name, found)
