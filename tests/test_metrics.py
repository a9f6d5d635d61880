"""The arithmetic of the metrics, by hand and against its oracles."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import tiny_base, tiny_concept

from adb_core.attention import selection
from adb_core.generation import Generation
from adb_core.metrics import (
    FUNCTION_WORDS,
    PLAIN,
    MetricError,
    attribute_hits,
    auc,
    bootstrap,
    cells_on,
    chance_accuracy,
    cosine_to_mean,
    found_shares,
    iou,
    leaks,
    map_quality,
    mask_cells,
    mean_cosine,
    noised_maps,
    overlap,
    paired_cosine,
    pixel_difference,
    pointing_hit,
    psnr,
    threshold,
    training_places,
    wilson,
    word_overlaps,
)

# ---------------------------------------------------------------- intervals


def test_bootstrap_of_equal_values_is_a_point():
    assert bootstrap([0.3] * 5) == pytest.approx((0.3, 0.3, 0.3, 5))


def test_bootstrap_covers_the_mean_narrows_with_data_and_repeats():
    rng = np.random.default_rng(0)
    few, many = bootstrap(rng.normal(2, 1, 20)), bootstrap(rng.normal(2, 1, 2000))
    assert few.low < few.mean < few.high and many.high - many.low < (few.high - few.low) / 3
    # the normal approximation of the standard error, which a percentile bootstrap must agree with
    assert many.high - many.low == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.15)
    assert bootstrap([1.0, 2.0, 4.0], 7) == bootstrap([1.0, 2.0, 4.0], 7)


def test_values_of_one_group_count_as_one_draw():
    values = [0.0] * 50 + [1.0] * 50
    assert bootstrap(values, groups=["a"] * 50 + ["b"] * 50)[:3] == pytest.approx((0.5, 0.0, 1.0))
    assert bootstrap(values).low > 0.35
    assert bootstrap(values, groups=["a"] * 100)[:3] == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    "values, groups",
    [([], None), ([1.0, float("nan")], None), ([[1.0]], None), ([1.0, 2.0], ["a"])],
)
def test_bootstrap_refuses_what_has_no_mean(values, groups):
    with pytest.raises(MetricError):
        bootstrap(values, groups=groups)


def test_interval_of_a_share_by_hand():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(10, 10)[1] == 1.0 and wilson(0, 10)[0] == 0.0


# ---------------------------------------------------------------- alike or not


def test_cosines_by_hand():
    a, refs = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, -1.0]]), np.array([[5.0, 0.0], [0.0, 1.0]])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(cosine_to_mean(a, refs), [half, half, -1.0], atol=1e-12)
    np.testing.assert_allclose(mean_cosine(a, refs), [0.5, 0.5, -half], atol=1e-12)
    np.testing.assert_allclose(paired_cosine(a[:2], refs), [1.0, 1.0], atol=1e-12)


def test_pixel_difference_is_a_share_of_the_range():
    black, white = np.zeros((2, 3, 5, 3), np.uint8), np.full((2, 3, 5, 3), 255, np.uint8)
    np.testing.assert_array_equal(pixel_difference(black, white), [1, 1])
    np.testing.assert_array_equal(pixel_difference(white, white), [0, 0])


def test_psnr_and_auc_by_hand():
    black, grey = np.zeros((1, 2, 2, 3)), np.full((1, 2, 2, 3), 25.5)
    np.testing.assert_allclose(psnr(black, grey), [20.0])
    assert psnr(black, black)[0] == pytest.approx(10 * np.log10(255**2 / 1e-10))
    assert auc([2, 3], [0, 1]) == 1.0 and auc([0, 1], [2, 3]) == 0.0
    assert auc([1, 1], [1]) == 0.5 and auc([0, 2], [1]) == 0.5


# ---------------------------------------------------------------- what was asked

READ = {
    "place": ["beach", "snow", PLAIN],
    "accessory": ["hat", "none", "hat"],
    "category": ["cat", "cat", "dog"],
}
ASKS = [{"place": "beach", "accessory": "hat"}, {"place": "moon", "accessory": "hat"}, {}]


def test_attributes_by_hand():
    assert attribute_hits(READ, ASKS) == {"place": [1.0, 0.0], "accessory": [1.0, 0.0]}
    shares = found_shares(READ, ASKS)
    assert shares[:2].tolist() == [1.0, 0.0] and np.isnan(shares[2])


def test_chance_is_the_agreement_of_the_prompts():
    assert chance_accuracy([{"a": "x"}, {"a": "x"}]) == 1.0
    assert chance_accuracy(
        [{"a": "x", "b": "1"}, {"a": "x", "b": "2"}, {"a": "y", "b": "3"}]
    ) == pytest.approx(1 / 6)
    assert chance_accuracy([{}]) == 0.0


def test_leaks_count_only_where_another_place_was_asked():
    concept = replace(tiny_concept(), info={"photos": [{"place": "snow"}, {"place": None}]})
    trained = training_places(concept)
    assert trained == {"snow", PLAIN} and training_places(tiny_concept()) == set()
    places, asks = (
        ["snow", "beach", PLAIN, "snow", "snow"],
        [{"place": "moon"}] * 3 + [{"place": "snow"}, {}],
    )
    assert leaks(places, asks, trained).tolist() == [1, 0, 1]
    assert leaks(places, asks, trained, named=True).tolist() == [1, 0, 0]


# ---------------------------------------------------------------- where a word looks


def test_a_cell_needs_a_quarter_and_the_mask_is_cropped_as_the_photo_is():
    mask = np.zeros((8, 12), bool)
    mask[0:2, 2:4] = True  # the first cell of the centred square
    mask[4, 4] = True  # a quarter of a cell
    mask[:, :2] = True  # outside the square
    shares = mask_cells(mask, (4, 4))
    assert shares[0, 0] == 1 and shares[2, 1] == 0.25 and shares.sum() == 1.25
    assert cells_on(shares).sum() == 2
    assert cells_on(np.array([[0.1, 0.05], [0.0, 0.0]])).tolist() == [[True, False], [False, False]]
    assert not cells_on(np.zeros((3, 3))).any()


def test_cells_are_averaged_as_torch_does_it():
    """The oracle: adaptive average pooling, also where cells do not divide the picture."""
    rng = np.random.default_rng(3)
    for shape, cells in (((64, 64), (16, 16)), ((37, 53), (16, 16)), ((29, 29), (7, 5))):
        mask = rng.random(shape) < 0.4
        side, (h, w) = min(shape), shape
        top, left = (h - side) // 2, (w - side) // 2
        square = torch.from_numpy(mask[top : top + side, left : left + side]).float()
        pooled = torch.nn.functional.adaptive_avg_pool2d(square[None, None], cells)[0, 0]
        np.testing.assert_allclose(mask_cells(mask, cells), pooled.numpy(), atol=1e-6)


def test_the_arithmetic_needs_no_torch():
    """The world's own evaluation uses it where torch is not loaded."""
    code = (
        "import sys; from adb_core.metrics import bootstrap, psnr, leaks, pointing_hit; "
        "print('torch' in sys.modules, 'diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_iou_and_overlap_by_hand():
    on = np.zeros((4, 4), bool)
    on[1:3, 1:3] = True
    peaked = np.where(on, 1.0, 0.1)
    assert pointing_hit(peaked, on) and not pointing_hit(peaked, ~on)
    assert iou(peaked, on) == 1.0 and iou(peaked, ~on) == 0.0 and iou(7 * peaked + 3, on) == 1.0
    assert (
        not threshold(np.full((4, 4), 0.1, np.float32)).any()
        and iou(np.full((4, 4), 0.1), on) == 0.0
    )
    assert overlap(peaked, 5 * peaked) == pytest.approx(1.0)
    assert overlap(on.astype(float), (~on).astype(float)) == 0.0


def test_map_quality_of_perfect_and_of_useless_maps():
    mask = np.zeros((16, 16), bool)
    mask[4:10, 6:12] = True
    good, bad = mask.astype(float) + 0.1, np.flip(~mask).astype(float)
    bad[0, 0] = 3.0
    maps = {
        "v": np.stack([good, bad])[None],
        "category": np.stack([2 * good, bad])[None],
    }  # (1, 2, 16, 16)
    found = map_quality(maps, [mask])
    assert found["pointing"].tolist() == [1, 0] and found["iou"][0] == 1.0 and found["iou"][1] < 0.2
    assert found["pointing_chance"] == pytest.approx([36 / 256] * 2) and found[
        "ratio"
    ] == pytest.approx([0.5, 1.0])
    assert set(map_quality({"v": maps["v"]}, [mask])) == {"pointing", "iou", "pointing_chance"}


def test_overlap_looks_at_content_words_and_says_nan_where_there_are_none():
    words = (("a", "<pico>", "cat", "in", "snow"), ("a", "<pico>", "cat"))
    maps = np.zeros((2, 3, 5, 2, 2), np.float32)  # pictures, sampling steps, words, y, x
    maps[:, :, 0] = 0.9  # "a" looks everywhere and must not count
    maps[:, :, 1, 0, 0] = maps[:, :, 2, 0, 0] = 0.5
    maps[0, :, 4, 0] = 0.25  # snow: half on the cat's cell
    generation = Generation(np.zeros((2, 4, 4, 3), np.uint8), ("x", "y"), (0, 0), words, maps)
    found = word_overlaps(generation, ["<pico>"], "cat")
    np.testing.assert_allclose(found["overlap_category"], [1.0, 1.0])
    np.testing.assert_allclose(found["overlap_others"], [0.5, np.nan])
    assert {"a", "in"} <= FUNCTION_WORDS


def test_maps_of_noised_latents_are_probabilities_in_place():
    base = tiny_base()
    ids = base.tokenizer(["a photo of a cat"], padding="max_length", return_tensors="pt").input_ids
    states = base.encode_prompts(ids)
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    everything = [[k] for k in range(states.tokens.shape[1])]
    call = dict(times=(200, 500), seed=1)
    maps = noised_maps(base, states, latents, everything, **call)
    assert maps.shape == (2, 2, len(everything), 16, 16)
    np.testing.assert_allclose(maps.sum(2), 1.0, atol=1e-4)
    again = noised_maps(base, states, latents, everything, **call)
    np.testing.assert_array_equal(maps, again)
    pair = noised_maps(base, states, latents, [[1, 2]], **call)
    np.testing.assert_allclose(pair[:, :, 0], maps[:, :, 1:3].mean(2), atol=1e-6)
    assert selection(states.tokens.shape[1], [[1, 2]]).sum() == 1
