"""The structures of the real models, narrow and random: every recipe, and plain diffusers after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import short, tiny_concept
from random_models import LAYERS, STRUCTURES, random_base

from adb_core import learner
from adb_core.attention import cross_attention_layers
from adb_core.generation import generate
from adb_core.personalization import personalize
from adb_core.recipes import RECIPES, recipe
from adb_core.result import load_result


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs(kind, name, monkeypatch):
    monkeypatch.setattr(learner, "PRIOR_COUNT", 2)
    plan = short(recipe(name, "paper"), steps=1)
    if plan.lora is not None:
        pytest.importorskip("peft", reason="LoRA needs the package peft")
    result = personalize(random_base(kind), tiny_concept(masked=True), plan, view_count=1)
    assert [r.stage for r in result.history] == [stage.name for stage in plan.stages]
    for step in result.history:
        assert np.isfinite(step.loss) and len(step.layers) == LAYERS[kind]
        assert len(step.v_mean) == LAYERS[kind]  # the statistics of every layer


@pytest.mark.parametrize("kind", STRUCTURES)
def test_what_is_saved_is_drawn_by_plain_diffusers(kind, tmp_path):
    from diffusers import DiffusionPipeline

    plan = short(replace(recipe("attndreambooth", "paper"), vectors=2), steps=1)
    result = personalize(random_base(kind), tiny_concept(), plan, view_count=1)
    folder = result.save_pretrained(tmp_path / "model")
    plain = DiffusionPipeline.from_pretrained(folder)
    plain.set_progress_bar_config(disable=True)
    how = {"num_inference_steps": 2, "guidance_scale": 7.5, "output_type": "np"}
    drawn = plain("a <pico> cat", generator=torch.Generator().manual_seed(3), **how).images
    again = load_result(folder, device="cpu")
    for model in (result, again):
        ours = generate(model, "a {}", [3], steps=2, guidance=7.5).images
        assert np.array_equal(ours, (drawn * 255).round().astype(np.uint8))


@pytest.mark.parametrize("kind", STRUCTURES)
def test_both_ways_of_reading_attention_agree(kind):
    """Capture on every layer of the structure: the textbook's softmax, and the fused kernel."""
    histories = [
        personalize(
            random_base(kind),
            tiny_concept(),
            short(recipe("without_stage_1", "paper"), steps=1),
            view_count=1,
            path=path,
        ).history
        for path in ("oracle", "fused")
    ]
    for ours, theirs in zip(*histories, strict=True):
        assert ours.layers == theirs.layers
        np.testing.assert_allclose(ours.v_mean, theirs.v_mean, rtol=1e-4)
        np.testing.assert_allclose(ours.grad_norm, theirs.grad_norm, rtol=1e-3)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_the_structure_is_that_of_the_real_model(kind):
    base = random_base(kind)
    assert len(cross_attention_layers(base.unet)) == LAYERS[kind]
    assert (base.unet.mid_block is None) == (kind == "bk-sdm-v2-tiny")


@pytest.mark.parametrize("kind", STRUCTURES)
def test_adapters_are_read_by_plain_diffusers(kind, tmp_path):
    """Of stages 2 and 3, by ``load_lora_weights``, over the structure's own base model."""
    pytest.importorskip("peft", reason="LoRA needs the package peft")
    plan = short(recipe("attndreambooth_lora", "paper"), steps=1)
    louder = replace(plan, stages=tuple(replace(stage, lr=0.03) for stage in plan.stages))
    result = personalize(random_base(kind), tiny_concept(), louder, view_count=1)
    folder = result.save_pretrained(tmp_path / "model")
    base = random_base(kind)
    plain = base.pipeline(text=result.text)
    plain.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors")
    noisy, times = torch.randn(1, 4, 16, 16), torch.tensor([500])
    states = result.token.states(result.token.tokenize(["a <pico> cat"]))
    with torch.no_grad():
        ours = base.predict(result.unet, noisy, times, states)
        theirs = base.predict(plain.unet, noisy, times, states)
        without = base.predict(random_base(kind).unet, noisy, times, states)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)  # weights may lie otherwise
    assert (ours - without).abs().max() > 0.01


def test_sizes_are_those_of_the_pictures_at_hand(monkeypatch):
    """XL trained at another resolution is told of it, as its pipeline tells it when it draws."""
    base, told = random_base("sdxl"), []
    real = type(base.unet).forward

    def forward(unet, *args, added_cond_kwargs=None, **more):
        told.append(added_cond_kwargs["time_ids"][0].tolist())
        return real(unet, *args, added_cond_kwargs=added_cond_kwargs, **more)

    monkeypatch.setattr(type(base.unet), "forward", forward)
    ids = base.text.tokenizers[0](["a cat"], padding="max_length", return_tensors="pt").input_ids
    states = base.encode_prompts(ids)
    for latents, side in ((16, 32), (24, 48)):
        with torch.no_grad():
            base.predict(base.unet, torch.randn(1, 4, latents, latents), torch.tensor([5]), states)
        base.pipeline()("a cat", height=side, width=side, num_inference_steps=1, guidance_scale=1.0)
        assert told[-1] == told[-2] == [side, side, 0, 0, side, side]
