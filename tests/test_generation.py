"""Prompts to pictures, and the maps of their words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import short, tiny_base, tiny_concept

from adb_core import generation
from adb_core.concept_token import TokenError
from adb_core.generation import PromptError, fill, generate, prompt_words
from adb_core.personalization import personalize
from adb_core.recipes import recipe
from adb_core.recording import record


def test_maps_of_words_while_sampling():
    result = personalize(
        tiny_base(), tiny_concept(), short(recipe("dreambooth"), steps=1), view_count=2
    )
    plain = generate(result, "a photo of a {} on the beach", seeds=[1, 2], steps=2)
    with_maps = generate(
        result,
        "a photo of a {} on the beach",
        seeds=[1, 2],
        steps=2,
        maps=True,
        words=["<pico>", "beach"],
    )
    assert np.abs(plain.images.astype(int) - with_maps.images).max() <= 1
    assert with_maps.maps.shape == (2, 2, 2, 16, 16) and set(with_maps.word_maps(0)) == {
        "<pico>",
        "beach",
    }
    with pytest.raises(PromptError, match="no word 'hat'"):
        generate(result, "a photo of a {}", maps=True, words=["hat"], steps=1)
    with pytest.raises(PromptError, match="maps=True"):
        plain.word_maps(0)


def test_batches_do_not_change_pictures():
    base = tiny_base()
    prompts = ["a red cat", "a blue dog on the moon"]
    one = generate(base, prompts, seeds=[1, 2, 3], steps=2, batch=6).images
    two = generate(base, prompts, seeds=[1, 2, 3], steps=2, batch=1).images
    assert np.abs(one.astype(int) - two).max() <= 1


@pytest.mark.parametrize("prompt", ["a photo of a cat", "a {} and a {}"])
def test_prompts_need_exactly_one_place_for_the_concept(prompt):
    with pytest.raises(PromptError, match="exactly one {}"):
        fill(prompt, "<v> cat")


def test_prompt_words_join_pieces():
    tokenizer = tiny_base().tokenizer
    words = prompt_words(tokenizer, "a photo of a garden gnome")
    assert [w for w, _ in words] == ["a", "photo", "of", "a", "garden", "gnome"]
    assert [len(p) for _, p in words][:4] == [1, 1, 1, 1] and len(words[4][1]) > 1


# ---------------------------------------------------------------- several vectors


def read_ids(model, draw) -> torch.Tensor:
    """The token ids that the text encoder read while ``draw`` ran, of the prompt alone."""
    seen = []
    handle = model.token.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["input_ids"]),
        with_kwargs=True,
    )
    try:
        draw()
    finally:
        handle.remove()
    (ids,) = [each for each in seen if any(i in model.token.ids for i in each[0].tolist())]
    return ids


def test_a_prompt_of_several_vectors_is_drawn_as_it_was_trained():
    """diffusers writes the vectors out as well: what is written out already would grow again."""
    plan = replace(short(recipe("textual_inversion"), steps=1), vectors=3)
    result = personalize(tiny_base(), tiny_concept(), plan, view_count=2)
    trained = result.token.tokenize(["a photo of a <pico>"])
    for draw in (
        lambda: generate(result, "a photo of a {}", steps=1),
        lambda: generate(result, "a photo of a {}", steps=1, maps=True),
        lambda: record(result, "a photo of a {}", steps=1),
    ):
        assert torch.equal(read_ids(result, draw), trained)
    words = ("a", "photo", "of", "a", "<pico>", "<pico>_1", "<pico>_2")
    assert generate(result, "a photo of a {}", steps=1, maps=True).words == (words,)
    assert record(result, "a photo of a {}", steps=1).words == words
    too_long = "a photo of a {} " + "cat " * (result.token.tokenizer.model_max_length - 8)
    with pytest.raises(TokenError, match="shorten"):  # its length counts all three
        generate(result, too_long, steps=1)


@pytest.mark.parametrize("change", [{"steps": 0}, {"guidance": 0.5}, {"batch": 0}])
def test_odd_numbers_are_refused(change):
    with pytest.raises(PromptError, match="steps and batch must be at least 1"):
        generate(tiny_base(), "a cat", **change)


def test_large_pictures_are_decoded_one_by_one(monkeypatch):
    """Eight of 512 pixels at once take eight times the memory, and no less time."""
    base, sizes = tiny_base(), []
    real = type(base.vae)._decode

    def decode(self, latents, *rest, **more):
        sizes.append(len(latents))
        return real(self, latents, *rest, **more)

    monkeypatch.setattr(type(base.vae), "_decode", decode)
    at_once = generate(base, "a photo of a cat", [1, 2, 3], steps=1).images
    monkeypatch.setattr(generation, "TOY_SIDE", 32)
    one_by_one = generate(base, "a photo of a cat", [1, 2, 3], steps=1).images
    assert sizes == [3, 1, 1, 1] and not base.vae.use_slicing
    assert np.abs(at_once.astype(int) - one_by_one).max() <= 1
    with pytest.raises(ZeroDivisionError), generation.one_by_one(base.pipeline()):
        1 / 0  # noqa: B018
    assert not base.vae.use_slicing
