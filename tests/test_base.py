"""The seam to a model: Stable Diffusion, with one encoder and with two, answers what is asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import folder_of, short, tiny_base, tiny_concept, weights
from two_encoders import NARROW, WIDE, two_encoder_base

from adb_core.base import BaseModelError, TextStates, load_base
from adb_core.concept_token import ConceptToken
from adb_core.generation import generate
from adb_core.personalization import Run, personalize
from adb_core.recipes import RECIPES, recipe
from adb_core.recording import record
from adb_core.result import load_result

# ---------------------------------------------------------------- one encoder


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_a_base_model_answers_what_it_is_asked(kind):
    base = tiny_base(kind)
    assert (base.side, base.latent_side) == (32, 16) and base.base is base
    assert base.prediction_type == ("v_prediction" if kind == "sd21" else "epsilon")
    assert set(base.parts) == {"text_encoder", "vae", "unet"} and base.subject is None
    posterior = base.encode_pictures(torch.rand(3, 3, 32, 32) * 2 - 1)
    assert posterior.mean.shape == posterior.std.shape == (3, 4, 16, 16)
    ids = base.tokenizer(["a cat"], padding="max_length", return_tensors="pt").input_ids
    states = base.encode_prompts(ids)
    assert states.pooled is None and states.repeat(3).tokens.shape == (3, ids.shape[1], 12)
    noisy, times = torch.randn(3, 4, 16, 16), torch.tensor([1, 2, 3])
    expected = base.unet(noisy, times, encoder_hidden_states=states.tokens.expand(3, -1, -1)).sample
    assert torch.equal(base.predict(base.unet, noisy, times, states.repeat(3)), expected)


def test_states_are_picked_and_repeated_with_their_pooled_ones():
    states = TextStates(torch.rand(3, 5, 7), torch.rand(3, 2))
    picked = states.pick(torch.tensor([2, 0]))
    assert torch.equal(picked.tokens, states.tokens[[2, 0]])
    assert torch.equal(picked.pooled, states.pooled[[2, 0]])
    one = states.pick(torch.tensor([1])).repeat(4)
    assert one.tokens.shape == (4, 5, 7) and one.pooled.shape == (4, 2)


def test_parts_of_a_pipeline_can_be_replaced():
    base, other = tiny_base(), tiny_base(seed=1)
    assert base.pipeline(unet=other.unet).unet is other.unet
    assert base.pipeline(text=other.text).text_encoder is other.text_encoder
    assert replace(base, unet=other.unet).pipeline().unet is other.unet


def test_the_fingerprint_tells_models_apart():
    prints = {tiny_base().fingerprint(), tiny_base(seed=1).fingerprint()}
    assert tiny_base().fingerprint() in prints and len(prints) == 2


# ---------------------------------------------------------------- two encoders


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_on_a_model_with_two_encoders(name):
    result = personalize(
        two_encoder_base(), tiny_concept(masked=True), short(recipe(name), steps=1), view_count=2
    )
    assert all(np.isfinite(r.loss) for r in result.history)
    assert result.history[0].v_mean  # its attention is read


def test_both_encoders_learn_a_row_of_their_own(tmp_path):
    plan = short(replace(recipe("attndreambooth"), vectors=2))
    run = Run(two_encoder_base(), tiny_concept(), plan, view_count=2)
    before = weights(run.learner)
    assert before["token.rows"].shape == (2, NARROW) and before["token.rows_2"].shape == (2, WIDE)
    for step in run:
        if step.stage == "alignment" and step.is_last:
            break
    after = weights(run.learner)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"token.rows", "token.rows_2"}
    for table in run.learner.token.tables:  # baked into what the pipeline reads
        assert torch.equal(table.table[table.ids], table.rows.detach())


def test_a_run_on_two_encoders_resumes_with_the_same_weights(tmp_path):
    plan = short(recipe("attndreambooth"))
    options = {"view_count": 2, "out": tmp_path / "b"}
    whole = personalize(two_encoder_base(), tiny_concept(), plan, view_count=2)
    for step in Run(two_encoder_base(), tiny_concept(), plan, **options):
        if (step.stage, step.step) == ("attention", 1):
            break
    again = personalize(two_encoder_base(), tiny_concept(), plan, **options)
    a, b = weights(whole.learner), weights(again.learner)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_trained_states_are_what_the_pipeline_reads():
    """Our own encoding and diffusers' SDXL pipeline agree, pooled states included."""
    base = two_encoder_base()
    ids = base.text.tokenizers[0](["a red cat"], padding="max_length", return_tensors="pt")
    states = base.encode_prompts(ids.input_ids)
    tokens, _, pooled, _ = base.pipeline().encode_prompt(
        "a red cat", device=base.device, do_classifier_free_guidance=False
    )
    torch.testing.assert_close(states.tokens, tokens)
    torch.testing.assert_close(states.pooled, pooled)


def test_two_encoders_are_saved_for_plain_diffusers(tmp_path):
    """Trained, saved, and drawn to the bit by a plain pipeline; each encoder has its rows' key."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
    from safetensors.torch import load_file

    plan = short(replace(recipe("attndreambooth"), vectors=2), steps=1)
    result = personalize(two_encoder_base(), tiny_concept(), plan, view_count=2)
    folder = result.save_pretrained(tmp_path / "model")
    rows = load_file(folder / "learned_embeds.safetensors")
    learned = result.token.parameters()
    assert torch.equal(rows["clip_l"], learned["token.rows"])
    assert torch.equal(rows["clip_g"], learned["token.rows_2"])
    plain = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    assert isinstance(plain.scheduler, DPMSolverMultistepScheduler)
    how = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "np"}
    drawn = plain("a photo of a <pico> cat", generator=torch.manual_seed(3), **how).images
    ours = generate(result, "a photo of a {}", [3], steps=2, guidance=3.0).images
    assert np.array_equal(ours, (drawn * 255).round().astype(np.uint8))
    again = load_result(folder, device="cpu")
    assert np.array_equal(ours, generate(again, "a photo of a {}", [3], steps=2, guidance=3).images)


def test_the_pooled_state_is_that_of_the_end_whatever_the_configuration_says(tmp_path):
    """XL's own files name a wrong end, with which a new word would be taken for it."""
    folder = folder_of(two_encoder_base(), tmp_path / "model")
    path = folder / "text_encoder_2/config.json"
    config = json.loads(path.read_text()) | {"eos_token_id": 2}
    path.write_text(json.dumps(config))
    base = load_base(str(folder), device="cpu")
    token = ConceptToken(base, "<pico>", "cat")
    near, far = (
        token.states(token.tokenize([f"a <pico> {word}"])).pooled for word in ("cat", "sun")
    )
    assert not torch.equal(near, far)  # the end has read what comes after [V]


def test_the_vae_of_two_encoders_computes_in_float32_where_it_must():
    base = two_encoder_base()
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    exact = base.encode_pictures(pixels).mean
    base.vae.half()
    found = base.encode_pictures(pixels)
    assert found.mean.dtype == torch.float32 and base.vae.dtype == torch.float16
    torch.testing.assert_close(found.mean, exact, atol=2e-3, rtol=2e-3)


def test_what_an_empty_prompt_means_is_the_model_s_own(tmp_path):
    folder = folder_of(two_encoder_base(), tmp_path / "model")
    zeros = load_base(str(folder), device="cpu")
    path = folder / "model_index.json"
    index = json.loads(path.read_text()) | {"force_zeros_for_empty_prompt": False}
    path.write_text(json.dumps(index))
    words = load_base(str(folder), device="cpu")
    flags = [b.pipeline().config.force_zeros_for_empty_prompt for b in (zeros, words)]
    assert flags == [True, False]
    assert not np.array_equal(
        *(generate(b, "a cat", [1], steps=1, guidance=3.0).images for b in (zeros, words))
    )


def test_two_encoders_draw_and_are_recorded():
    result = personalize(
        two_encoder_base(), tiny_concept(), short(recipe("dreambooth"), steps=1), view_count=2
    )
    made = generate(result, "a photo of a {}", [1], steps=2, maps=True, words=["<pico>", "cat"])
    assert made.images.shape == (1, 32, 32, 3) and set(made.word_maps(0)) == {"<pico>", "cat"}
    assert record(result, "a photo of a {}", steps=1).words[-2:] == ("<pico>", "cat")


# ---------------------------------------------------------------- loading: one line and the cure


def refusal(name) -> str:
    with pytest.raises(BaseModelError) as caught:
        load_base(str(name), device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return folder_of(tiny_base(), tmp_path_factory.mktemp("base") / "model")


def copied(saved, folder):
    import shutil

    return shutil.copytree(saved, folder / "model")


def test_a_saved_base_model_loads_as_it_was(saved):
    base = load_base(str(saved), device="cpu")
    assert base.side == 32
    for a, b in zip(base.unet.parameters(), tiny_base().unet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_single_file_is_no_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert "is a single file: give a diffusers folder" in refusal(tmp_path / "model.safetensors")


def test_another_family_is_named(saved, tmp_path):
    folder = copied(saved, tmp_path)
    index = folder / "model_index.json"
    text = index.read_text()
    index.write_text(text.replace("StableDiffusionPipeline", "StableDiffusion3Pipeline"))
    text = refusal(folder)
    assert "is a StableDiffusion3Pipeline: only Stable Diffusion 1.x, 2.x and XL" in text
    assert "download" not in text  # another copy would not help


def test_weights_in_half_precision_only_are_named(saved, tmp_path):
    folder = copied(saved, tmp_path)
    for path in folder.glob("*/*.safetensors"):
        path.rename(path.with_name(f"{path.stem}.fp16.safetensors"))
    assert "in half precision only (variant fp16): download or save the float32" in refusal(folder)


def test_pickles_are_named(saved, tmp_path):
    folder = copied(saved, tmp_path)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    assert "as a pickle (.bin), which can run code and is never opened" in refusal(folder)


def test_a_model_for_inpainting_is_named(tmp_path):
    base = tiny_base()
    base.unet = type(base.unet).from_config({**base.unet.config, "in_channels": 9})
    text = refusal(folder_of(base, tmp_path / "model"))
    assert "its U-Net takes 9 channels, its latents have 4" in text


def test_a_hub_that_cannot_be_reached_is_named(tmp_path):
    """Against a port that nobody listens at, not a made-up error: the cause lies several deep."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import adb_core as adb; adb.load_base('sd21', device='cpu')"
    env = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    last = done.stderr.strip().splitlines()[-1]
    assert "sd21 is not on this machine and the hub cannot be reached: go online once" in last


def test_a_saved_result_is_a_model_too(tmp_path):
    result = personalize(
        tiny_base(), tiny_concept(), short(recipe("dreambooth"), steps=1), view_count=2
    )
    saved = load_result(result.save_pretrained(tmp_path / "model"), device="cpu")
    assert (saved.subject, saved.words) == ("<pico> cat", ("<pico>",))
    assert saved.recipe_name == "dreambooth"
    assert saved.concept is None and result.concept is result.learner.concept
    ours, theirs = (generate(model, "a {}", steps=2).images for model in (result, saved))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
