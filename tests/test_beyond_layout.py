"""Boxes, subjects put into them, and where a finished picture's subject is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import short, tiny_base, tiny_concept
from test_beyond_walks import close
from two_encoders import two_encoder_base

import adb_core as adb
from adb_core.attention import capture_attention
from adb_core.beyond import (
    Box,
    BoxError,
    Push,
    box_scores,
    map_mask,
    mask_iou,
    noise,
    outlined,
    picture_maps,
    place,
    share_inside,
    text_states,
)
from adb_core.beyond.layout import pushed, word_column
from adb_core.generation import PromptError, generate
from adb_core.maps import aggregate

PROMPT, LEFT = "a photo of a red cat on the beach", Box(0, 0.25, 0.5, 1)

# ---------------------------------------------------------------- boxes


def test_a_box_covers_cells_by_their_area():
    """Against counting the points of a fine raster."""
    box, cells = Box(0.1, 0.3, 0.75, 0.95), (5, 7)
    fine = (np.arange(1400) + 0.5) / 1400
    inside = np.outer((fine > 0.3) & (fine < 0.95), (fine > 0.1) & (fine < 0.75))
    counted = inside.reshape(5, 280, 7, 200).mean((1, 3))
    np.testing.assert_allclose(box.cover(cells), counted, atol=1e-6)
    assert box.cover(cells).mean() == pytest.approx(box.area)


def test_the_share_inside_a_box():
    maps = torch.zeros(2, 4, 4)
    maps[0, 2, 1], maps[0, 2, 2], maps[1] = 3.0, 1.0, 1.0
    torch.testing.assert_close(share_inside(maps, LEFT), torch.tensor([0.75, 0.375]))


@pytest.mark.parametrize("x, y, left, top", [(0.5, 0.5, 0.3, 0.25), (0, 1, 0, 0.5), (1, 0, 0.6, 0)])
def test_a_box_around_a_point_stays_in_the_picture(x, y, left, top):
    box = Box.around(x, y, 0.4, 0.5)
    assert (box.left, box.top) == pytest.approx((left, top))
    assert (box.right, box.bottom) == pytest.approx((left + 0.4, top + 0.5))


BAD_BOXES = {
    "no width": ((0.5, 0.1, 0.5, 0.9), "hardly any area"),
    "no height": ((0.1, 0.5, 0.9, 0.5), "hardly any area"),
    "upside down": ((0.1, 0.9, 0.9, 0.1), "hardly any area"),
    "outside": ((1.2, 0.1, 1.6, 0.9), "out of the picture"),
    "half outside": ((-0.2, 0.1, 0.5, 0.9), "out of the picture"),
    "pixels": ((0, 16, 32, 64), "out of the picture: .* from 0 to 1"),
    "not numbers": ((0, float("nan"), 0.5, 0.9), "is no box"),
}


@pytest.mark.parametrize("name", BAD_BOXES)
def test_bad_boxes(name):
    edges, message = BAD_BOXES[name]
    with pytest.raises(BoxError, match=message):
        Box(*edges)


@pytest.mark.parametrize("size", [(0, 0.5), (0.5, 1.5)])
def test_boxes_of_bad_sizes(size):
    with pytest.raises(BoxError, match="does not fit"):
        Box.around(0.5, 0.5, *size)


@pytest.mark.parametrize("side", [8, 64, 256])
def test_an_outline_is_drawn_on_the_edge(side):
    picture = np.zeros((side, side, 3), np.uint8)
    drawn = outlined(picture, Box(0.25, 0.5, 1, 1), (9, 8, 7)).any(-1)
    rows, columns = drawn.any(1).nonzero()[0], drawn.any(0).nonzero()[0]
    assert (rows[0], rows[-1]) == (side // 2, side - 1) and not picture.any()
    assert (columns[0], columns[-1]) == (side // 4, side - 1)


# ---------------------------------------------------------------- pushes


def one_push(base, push, box=LEFT, step=0):
    """Latents before and after one push, and the share before it."""
    latents = torch.cat([noise(base, 0), noise(base, 1)])
    pipeline = base.pipeline()
    pipeline.scheduler.set_timesteps(4)
    _, columns = word_column(base, PROMPT, "cat")
    states = text_states(base, PROMPT)
    after, share = pushed(base, pipeline, step, latents, columns, (states, box, push))
    return latents, after, share


def energy(base, x, time):
    """The loss and the share, written out for one picture."""
    position = 6 - 1  # <start> a photo of a red cat
    with capture_attention(base.unet, [position + 1]) as capture:
        states = text_states(base, PROMPT)
        base.predict(base.unet, x, torch.tensor([time]), states)
    (heat,) = aggregate(capture.layers)[:, 0]
    share = heat[4:, :8].sum() / heat.sum()
    return (1 - share) ** 2, share


def test_a_push_is_the_papers_in_the_units_of_the_input():
    """eta sigma^2 dE/dz on z = x sqrt(1 + sigma^2), computed there, and brought back."""
    base, eta = tiny_base(), 30.0
    before, after, shares = one_push(base, Push(rule="paper", strength=eta))
    pipeline = base.pipeline()
    pipeline.scheduler.set_timesteps(4)
    time = int(pipeline.scheduler.timesteps[0])
    alpha = base.scheduler.alphas_cumprod[time]
    sigma = ((1 - alpha) / alpha).sqrt()
    for k, x in enumerate(before[:, None]):
        z = (x * (1 + sigma**2).sqrt()).requires_grad_(True)
        loss, share = energy(base, z / (1 + sigma**2).sqrt(), time)
        (gradient,) = torch.autograd.grad(loss, z)
        moved = (z - eta * sigma**2 * gradient) / (1 + sigma**2).sqrt()
        torch.testing.assert_close(after[k : k + 1], moved.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(shares[k], share.detach())
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("make", [tiny_base, two_encoder_base])
def test_a_push_keeps_the_length_and_raises_the_share(make):
    base = make()
    before, after, share = one_push(base, Push(strength=0.05))
    torch.testing.assert_close(before.flatten(1).norm(dim=1), after.flatten(1).norm(dim=1))
    time = base.pipeline().scheduler
    time.set_timesteps(4)
    _, columns = word_column(base, PROMPT, "cat")
    states = text_states(base, PROMPT).repeat(2)
    with capture_attention(base.unet, columns, grad=False) as capture, torch.no_grad():
        base.predict(base.unet, after, time.timesteps[:1].expand(2), states)
    assert (share_inside(aggregate(capture.layers)[:, 0], LEFT) > share).all()


def test_pictures_are_pushed_apart_from_one_another():
    base = tiny_base()
    both = place(base, PROMPT, LEFT, "cat", [0, 1], steps=3, batch=2)
    alone = [place(base, PROMPT, LEFT, "cat", [s], steps=3) for s in (0, 1)]
    pieces = place(base, PROMPT, LEFT, "cat", [0, 1], steps=3, batch=1)
    assert close(both.images, np.concatenate([p.images for p in alone]))
    assert close(both.images, pieces.images)
    np.testing.assert_allclose(both.shares, pieces.shares, rtol=1e-4)
    assert both.shares.shape == (2, 6) and (both.shares[:, -1] > both.shares[:, 0]).all()


def test_without_a_push_the_picture_is_generates_and_with_one_another():
    base = tiny_base()
    plain = generate(base, PROMPT, [3], steps=3).images
    still = place(base, PROMPT, LEFT, "cat", [3], Push(first=0), steps=3)
    assert close(still.images, plain) and still.shares.shape == (1, 0)
    assert not close(place(base, PROMPT, LEFT, "cat", [3], steps=3).images, plain)


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "DDIMScheduler"])
def test_other_schedulers(scheduler):
    import diffusers

    placed = place(
        tiny_base(), PROMPT, LEFT, "cat", steps=3, scheduler=getattr(diffusers, scheduler)
    )
    assert placed.shares[0, -1] > placed.shares[0, 0]


def test_the_processors_come_back():
    base = tiny_base()
    before = dict(base.unet.attn_processors)
    place(base, PROMPT, LEFT, "cat", steps=2)
    after = base.unet.attn_processors
    assert all(after[name] is before[name] for name in before) and len(after) == len(before)


@pytest.mark.parametrize(
    "vectors, words", [(1, ("<pico>", "cat")), (2, ("<pico>", "<pico>_1", "cat"))]
)
def test_the_learned_subject_is_what_goes_into_the_box(vectors, words):
    plan = replace(short(adb.recipe("dreambooth"), steps=1), vectors=vectors)
    result = adb.personalize(tiny_base(), tiny_concept(), plan, view_count=2)
    placed = place(result, "a photo of a {} on the beach", LEFT, steps=2)
    assert placed.words == words and placed.prompt == f"a photo of a {' '.join(words)} on the beach"
    one = place(result, "a photo of a {} on the beach", LEFT, "beach", steps=2)
    assert one.words == ("beach",)


BAD_PLACES = {
    "a word that is not there": ({"word": "hat"}, "no word 'hat': choose from a, photo"),
    "no word": ({"word": None}, "name the word that goes into the box"),
    "an empty word": ({"word": " "}, "is empty"),
    "no seed": ({"seeds": []}, "at least one seed"),
    "a long prompt": ({"prompt": "cat " * 100}, "shorten"),
    "no steps": ({"steps": 0}, "at least 1"),
}


@pytest.mark.parametrize("name", BAD_PLACES)
def test_bad_places(name):
    options, message = BAD_PLACES[name]
    with pytest.raises(ValueError, match=message):
        place(tiny_base(), **{"prompt": PROMPT, "box": LEFT, "word": "cat", **options})


@pytest.mark.parametrize(
    "options", [{"rule": "luck"}, {"first": -1}, {"times": 0}, {"strength": 0}]
)
def test_bad_pushes(options):
    with pytest.raises(PromptError, match="unknown rule|a push needs"):
        Push(**options)


# ---------------------------------------------------------------- finished pictures


def test_maps_of_pictures_are_those_of_the_metrics():
    from adb_core.metrics import photo_maps

    base, concept = tiny_base(), tiny_concept()
    template = "a photo of a {}"
    expected = photo_maps(base, concept, template=template)["v"].mean(1)
    found = picture_maps(base, "a photo of a cat", concept.squares(base.side), "cat")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_box_scores_and_masks():
    heat = np.zeros((2, 4, 4), np.float32)
    heat[0, 2:, :2], heat[1, 0, 3] = 1.0, 1.0
    scores = box_scores(heat + 0.01, LEFT)
    np.testing.assert_allclose(scores.inside, [1, 0])
    np.testing.assert_allclose(scores.mass, [4.06 / 4.16, 0.06 / 1.16], rtol=1e-5)
    np.testing.assert_array_equal(map_mask(heat[0]), heat[0] > 0)
    # above the mean alone, or far above it; a flat map has no mask
    slope = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert [map_mask(slope, deviations=d).sum() for d in (0, 0.25, 1)] == [8, 7, 3]
    assert not map_mask(np.full((4, 4), 0.3, np.float32)).any()
    large = map_mask(heat[0], 32)
    assert large.shape == (32, 32) and large[24:, :8].all() and not large[:8].any()


def test_intersection_over_union():
    a, b = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    a[:, :3], b[:, 2:4] = True, True
    assert mask_iou(a, b) == pytest.approx(4 / 16) and mask_iou(~a & a, ~b & b) == 0
    with pytest.raises(ValueError, match="cannot be compared"):
        mask_iou(a, b.T)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="reads pictures of 32 x 32 pixels"):
        picture_maps(tiny_base(), PROMPT, np.zeros((1, 16, 16, 3), np.uint8), "cat")
