"""The seam to a model: Stable Diffusion, with one encoder and with two, answers what is asked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import folder_of, short, tiny_base, tiny_concept, weights
from two_encoders import NARROW, WIDE, two_encoder_base

from adb_core.base import TextStates, load_base
from adb_core.concept_token import ConceptToken
from adb_core.generation import generate
from adb_core.personalization import Run, personalize
from adb_core.recipes import recipe
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


def test_the_rows_of_two_encoders_are_saved_under_their_names(tmp_path):
    from safetensors.torch import load_file

    token = ConceptToken(two_encoder_base(), "<pico>", "cat", vectors=2)
    token.save(tmp_path / "learned_embeds.safetensors")
    rows = load_file(tmp_path / "learned_embeds.safetensors")
    learned = token.parameters()
    assert torch.equal(rows["clip_l"], learned["token.rows"])
    assert torch.equal(rows["clip_g"], learned["token.rows_2"])
    plain = two_encoder_base().pipeline()  # as the README of the format wants it, one by one
    for key, part in (("clip_l", ""), ("clip_g", "_2")):
        encoder, tokenizer = (getattr(plain, f"{n}{part}") for n in ("text_encoder", "tokenizer"))
        plain.load_textual_inversion(
            rows[key], token="<pico>", text_encoder=encoder, tokenizer=tokenizer
        )
        ids = tokenizer.convert_tokens_to_ids(["<pico>", "<pico>_1"])
        assert torch.equal(encoder.get_input_embeddings().weight[ids], rows[key])


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


# ---------------------------------------------------------------- folders


def test_a_saved_base_model_loads_as_it_was(tmp_path):
    saved = folder_of(tiny_base(), tmp_path / "model")
    base = load_base(str(saved), device="cpu")
    assert base.side == 32
    for a, b in zip(base.unet.parameters(), tiny_base().unet.parameters(), strict=True):
        assert torch.equal(a, b)


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
