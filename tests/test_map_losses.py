"""The terms beside the regularizer: equal to a slow, readable twin, in outputs and gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import make_learner, short, tiny_base, tiny_concept

from adb_core import map_losses as m
from adb_core.attention import capture_attention
from adb_core.engine import TrainingError
from adb_core.learner import Learner
from adb_core.losses import draw_batch, forward, losses, step_rng
from adb_core.personalization import personalize
from adb_core.recipes import Recipe, Stage, recipe


def layers(seed: int = 0, sides=(4, 2), batch: int = 3, heads: int = 2) -> list[torch.Tensor]:
    """Probabilities (b, h, q, 2) of two layers, with gradient."""
    g = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, side * side, 2) for side in sides]
    return [torch.rand(shape, generator=g).requires_grad_() for shape in shapes]


def same(function, oracle, inputs) -> None:
    """Both give the same number, and the same gradient of every input."""
    found, expected = function(inputs), oracle(inputs)
    torch.testing.assert_close(found, expected)
    a, b = (torch.autograd.grad(value, inputs) for value in (found, expected))
    assert any(gradient.abs().sum() > 0 for gradient in a)
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other)


def slow_pixelwise(maps):
    total = 0.0
    for layer in maps:
        b, h, q, _ = layer.shape
        terms = [
            (layer[i, j, k, 0] - layer[i, j, k, 1]) ** 2
            for i in range(b) for j in range(h) for k in range(q)
        ]  # fmt: skip
        total = total + sum(terms) / len(terms)
    return total / len(maps)


def slow_variation(maps):
    def shape(heat):
        ranged = (heat - heat.min()) / (heat.max() - heat.min())
        return ranged / ranged.sum()

    each = []
    for layer in maps:
        for sample in layer:
            v, category = (sample[:, :, k].mean(0) for k in (0, 1))
            each.append((shape(v) - shape(category)).abs().sum() / 2)
    return sum(each) / len(each)


def test_the_pixelwise_term_and_its_twin():
    same(m.pixelwise, slow_pixelwise, layers())


def test_the_total_variation_and_its_twin():
    same(m.variation, slow_variation, layers())


def test_a_position_is_seen_by_both_and_not_by_the_moments():
    left = torch.tensor([[0.9, 0.1], [0.0, 0.0]]).reshape(1, 1, 4)
    right = left.flip(-1)
    maps = [torch.stack([left, right], -1)]
    assert m.variation(maps) > 0.9 and m.pixelwise(maps) > 0.1
    assert m.variation([torch.stack([left, 0.3 * left], -1)]) == pytest.approx(0.0, abs=1e-6)
    flat = torch.full((1, 1, 4, 2), 0.2, requires_grad=True)  # no range: no number must come out
    m.variation([flat]).backward()
    assert torch.isfinite(flat.grad).all()


def test_the_true_mask_and_its_twin():
    heat = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    masks = (torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(2)) > 0.5).float()

    def slow(inputs):
        (maps,) = inputs
        each = [((a / a.max() - t) ** 2).mean() for a, t in zip(maps, masks, strict=True)]
        return sum(each) / 3

    same(lambda inputs: m.masked_attention(inputs[0], masks), slow, [heat])
    assert float(m.masked_attention(0.01 * masks, masks)) < 1e-6  # its scale is free


def test_the_maps_of_the_wanted_size_are_averaged():
    maps = {f"l{k}": layer for k, layer in enumerate(layers(sides=(16, 4, 16)))}
    heat = m.mean_map(maps)
    expected = (maps["l0"][..., 0].mean(1) + maps["l2"][..., 0].mean(1)) / 2
    torch.testing.assert_close(heat.flatten(1), expected)
    assert m.mean_map({"small": maps["l1"]}).shape == (3, 4, 4)


# ---------------------------------------------------------------- in the engine

STAGE = Stage("s", ("unet",), 1, 1e-3, 2)


def terms(stage: Stage, masked: bool = True, parts: int = 1):
    """The losses of one batch on a random model, and the learner."""
    concept = tiny_concept(masked=masked)
    learner = Learner(tiny_base(), concept, Recipe("r", (stage,)), view_count=2)
    batch = draw_batch(learner.latents, 1, 2, 1000, step_rng(0, 0, 0))
    ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
    (v,), (category,) = learner.token.positions(ids[0])
    with capture_attention(learner.unet, [v, category]) as capture:
        passed = forward(learner, batch, learner.token.states(ids).repeat(2), capture)
        return losses(stage, passed, parts), passed, learner


@pytest.mark.parametrize("name", ["pixelwise", "total_variation", "masked_map"])
def test_a_term_is_weighed_and_does_not_change_with_micro_batches(name):
    found, *_ = terms(replace(STAGE, **{name: 2.5}))
    again, *_ = terms(replace(STAGE, **{name: 2.5}), parts=3)
    assert set(found.further) == {name} and float(found.further[name]) > 0
    torch.testing.assert_close(found.total, found.diffusion + 2.5 * found.further[name])
    torch.testing.assert_close(found.total, again.total)


def test_masks_are_cut_like_their_views():
    """A picture that is its own mask gives the same views."""
    concept = tiny_concept(masked=True)
    pictures = tuple(
        np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255 for mask in concept.masks
    )
    plan = Recipe("r", (replace(STAGE, masked_map=1.0),))
    learner = Learner(tiny_base(), replace(concept, images=pictures), plan, view_count=3)
    assert learner.masks.shape == (9, 32, 32)
    from adb_core.images import views

    cut = views(pictures, 32, 3, 0, learner.options.augmentation)
    torch.testing.assert_close(learner.masks, torch.from_numpy(cut[..., 0]).float() / 255)
    assert 0.1 < float(learner.masks.mean()) < 0.9


def test_a_concept_without_masks_is_one_line():
    with pytest.raises(TrainingError, match="'masked_map' compares maps with .* 'pico' has none"):
        make_learner(short(recipe("masked_map")))


def test_a_detached_category_pulls_v_alone():
    """The same number, another gradient; the regularizer's value does not change."""
    stage = replace(STAGE, lambda_mu=2.0, lambda_sigma=5.0)
    gradients = []
    for detached in (False, True):
        found, _, learner = terms(replace(stage, detach_category=detached))
        weight = learner.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k.weight
        weight.requires_grad_(True)
        found, passed, learner = _with_gradient(replace(stage, detach_category=detached))
        gradients.append((found.regularizer.total.detach(), passed))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert not torch.allclose(gradients[0][1], gradients[1][1])


def _with_gradient(stage: Stage):
    """The losses, and the regularizer's gradient of one weight."""
    learner = Learner(tiny_base(), tiny_concept(), Recipe("r", (stage,)), view_count=2)
    batch = draw_batch(learner.latents, 1, 2, 1000, step_rng(0, 0, 0))
    ids = learner.token.tokenize([learner.prompt("a photo of a {}")])
    (v,), (category,) = learner.token.positions(ids[0])
    weight = learner.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k.weight
    weight.requires_grad_(True)
    with capture_attention(learner.unet, [v, category]) as capture:
        passed = forward(learner, batch, learner.token.states(ids).repeat(2), capture)
        found = losses(stage, passed)
    (gradient,) = torch.autograd.grad(found.regularizer.total, weight)
    return found, gradient, learner


def test_what_was_drawn_before_is_what_it_was():
    """The lot is drawn last: rows, prompts, times, latents and noise of old recipes stay."""
    learner = make_learner(Recipe("r", (STAGE,)))
    rng = step_rng(3, 1, 7)
    rows, prompts, times = (rng.integers(n, size=4) for n in (len(learner.latents.mean), 5, 1000))
    batch = draw_batch(learner.latents, 5, 4, 1000, step_rng(3, 1, 7))
    for found, expected in ((batch.rows, rows), (batch.prompts, prompts)):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(batch.timesteps.numpy(), times)
    assert batch.part(2, 0).lot == batch.part(2, 1).lot == batch.lot


@pytest.mark.parametrize("name", ["pixelwise_map", "total_variation", "masked_map"])
def test_the_map_recipes_pull_the_maps_together(name):
    plan = short(recipe(name), steps=1)
    history = personalize(tiny_base(), tiny_concept(masked=True), plan, view_count=2).history
    assert all(record.further and record.mean_part == 0 for record in history)
