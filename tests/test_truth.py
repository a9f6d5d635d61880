"""Scores beside the truth: nothing that ignores the concept or the prompt can raise them."""

import numpy as np
import pytest
import torch
from models import tiny_concept

from adb_core.concept import Concept
from adb_core.judges import load_clip, load_judge, true_pictures
from adb_core.metrics import (
    Compared,
    Truth,
    by_complexity,
    complexity,
    identity_shares,
    joint_hits,
    map_distances,
    score_against_truth,
    total_variation,
)
from adb_core.metrics.evidence import LeftOut, Pictures
from adb_core.metrics.truth import likeness, spread
from adb_core.regularizer import map_statistics

ASKS = [
    {"style": "photo", "place": "moon"},
    {"style": "photo", "accessory": "hat", "place": "forest"},
    {"style": "photo", "relation": "holding", "object": "ball", "place": "kitchen"},
]


def test_complexity_counts_things_and_no_style():
    assert [complexity(asked) for asked in ({}, {"style": "photo"}, *ASKS)] == [0, 0, 1, 2, 3]
    heaps = by_complexity([1.0, None, 0.5, float("nan")], [ASKS[0], ASKS[0], ASKS[2], ASKS[1]])
    assert heaps == {1: [1.0], 3: [0.5]}


def test_the_joint_score_is_a_product_of_hits():
    shares = np.array([1.0, 0.76, 0.74, np.nan, 1.0, 1.0, 5.0])
    complete, same = np.ones(7), np.ones(7)
    complete[4], same[5] = 0.0, 0.0
    assert joint_hits(shares, complete, same).tolist() == [1, 1, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(
        identity_shares(np.array([0.4, 0.2]), np.array([0.8, -0.1])), [0.5, np.nan]
    )


def test_equal_moments_and_no_overlap_is_all_the_distance_there_is():
    """What the regularizer cannot see: its mean and variance agree, and no cell is shared."""
    left = np.zeros((4, 4))
    left[:2] = [[0.9, 0.1, 0.5, 0.3], [0.2, 0.4, 0.6, 0.8]]
    right = left[::-1].copy()
    a, b = (map_statistics(torch.tensor(m).reshape(1, 1, 16)) for m in (left, right))
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(a.var, b.var)
    assert total_variation(left, right) == pytest.approx(1.0)
    assert total_variation(left, 3 * left) == pytest.approx(0.0)
    maps = {"v": np.stack([left, left])[:, None], "category": np.stack([left, right])[:, None]}
    np.testing.assert_allclose(map_distances(maps), [0.0, 1.0], atol=1e-12)
    assert map_distances({"v": maps["v"]}) is None


def test_copies_and_diversity():
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    found = likeness(np.concatenate([photos, 255 - photos[:1]]), photos)
    np.testing.assert_allclose(found.diagonal(), 1.0)
    assert found[2, 0] == pytest.approx(-1.0, abs=1e-6) and abs(found[0, 1]) < 0.3
    assert likeness(photos // 2, photos)[0, 0] > 0.99  # brightness is no pose
    with pytest.raises(LeftOut, match="too small"):
        likeness(photos[:, :8], photos[:, :8])
    vectors = np.array([[1.0, 0], [0, 1.0], [1.0, 0], [1.0, 0]])
    assert sorted(spread(vectors, [0, 0, 1, 1])) == [0.0, 1.0]
    with pytest.raises(LeftOut, match="two pictures of one prompt"):
        spread(vectors, [0, 1, 2, 3])


def test_what_was_not_drawn_is_left_out_and_says_why():
    concept = tiny_concept()
    images = np.zeros((2, 32, 32, 3), np.uint8)
    truth = Truth(images[:, None], [{}, {}], concept, None)
    compared = Compared(Pictures(images, [{}, {}], concept), truth, np.arange(2))
    values, left_out = score_against_truth(compared)
    assert set(values) == {"pose_leakage"}
    assert "plain category" in left_out["word_dependence"]
    assert "unrelated prompts" in left_out["drift_others"]
    assert "maps" in left_out["map_distance"] and left_out["joint"] == "no judge was given"


# ---------------------------------------------------------------- the next world's controls


def compared(concept, judge, images, asks, drawn_asks=None, clip=None) -> Compared:
    truth = Truth(true_pictures(concept, asks, [70, 71]).reshape(len(asks), 2, *images.shape[1:]),
                  asks, concept, judge)  # fmt: skip
    pictures = Pictures(images, asks, concept, judge, clip)
    plain = Pictures(images, asks, concept, judge)
    others = (images[:2], images[:2])
    return Compared(pictures, truth, np.arange(len(asks)), plain, np.arange(3), others)


@pytest.fixture
def judge():
    return load_judge()


def test_the_truth_scores_as_the_truth(judge):
    concept = Concept.bundled("pico")
    found, left_out = score_against_truth(
        compared(concept, judge, true_pictures(concept, ASKS, [5]), ASKS, clip=load_clip())
    )
    assert found["identity_share"].mean() > 0.9 and found["joint"].mean() == 1.0
    assert found["word_dependence"].tolist() == [0.0] * 3  # the plain pictures are the same here
    assert abs(found["pose_leakage"].mean()) < 0.2
    assert found["drift_others"].tolist() == [0.0] * 2
    assert max(abs(found["drift_others_clip"])) < 1e-5
    assert set(left_out) == {"diversity", "map_distance"}


def test_controls_fall_to_nothing(judge):
    """Shuffled prompts, another concept, and copies of the photos: none has a joint score."""
    concept, other = Concept.bundled("pico"), Concept.bundled("nori")
    right = true_pictures(concept, ASKS, [5])
    wrong = {
        "shuffled prompts": np.roll(right, 1, axis=0),
        "another concept": true_pictures(other, ASKS, [5]),
        "copies": concept.squares(right.shape[1])[:3],
    }
    scores = {
        name: score_against_truth(compared(concept, judge, images, ASKS))[0]
        for name, images in wrong.items()
    }
    assert all(found["joint"].sum() == 0 for found in scores.values()), scores
    assert scores["shuffled prompts"]["identity_share"].mean() > 0.8  # and yet no joint score
    assert scores["another concept"]["identity_share"].mean() < 0.5
    assert scores["copies"]["pose_leakage"].mean() > 0.4
