"""Mixed words, kept pictures, contact sheets, cut-outs, and the canvas that uses them."""

import hashlib
import json
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import short, tiny_base, tiny_concept
from PIL import Image
from test_beyond_walks import close
from two_encoders import two_encoder_base

import adb_core as adb
from adb_core import beyond
from adb_core.beyond import (
    Box,
    Kept,
    Push,
    avatar_prompts,
    avatar_sheet,
    cutout,
    cutouts,
    map_mask,
    mixed_states,
    picture_maps,
    slerp,
    text_states,
)
from adb_core.concept_token import TokenError
from adb_core.generation import PromptError, generate
from adb_core.pictures import opened
from adb_core.result import OutputError
from adb_core.widgets import Canvas

PROMPT = "a photo of a red cat"


@pytest.fixture(scope="module")
def result():
    plan = replace(short(adb.recipe("dreambooth"), steps=1), vectors=2)
    return adb.personalize(tiny_base(), tiny_concept(), plan, view_count=2)


def test_the_room_names_what_there_is():
    """Every name loads, and none is also a file's, which importing the file would put there."""
    files = {module.name for module in pkgutil.iter_modules(beyond.__path__)}
    assert not files & set(beyond.__all__) and set(beyond.__all__) <= set(dir(beyond))
    assert all(getattr(beyond, name).__doc__ for name in beyond.__all__)
    with pytest.raises(AttributeError):
        _ = beyond.video


# ---------------------------------------------------------------- mixed words


@pytest.mark.parametrize("make", [tiny_base, two_encoder_base])
def test_a_mixed_word_ends_as_the_other_and_leaves_no_trace(make):
    base = make()
    tables = [e.get_input_embeddings().weight.clone() for e in base.text.encoders]
    at_ends = [mixed_states(base, PROMPT, "dog", share, "cat").tokens for share in (0, 1)]
    cat, dog = (text_states(base, PROMPT.replace("cat", w)).tokens for w in ("cat", "dog"))
    torch.testing.assert_close(at_ends[0], cat)
    torch.testing.assert_close(at_ends[1], dog)
    half = mixed_states(base, PROMPT, "dog", 0.5, "cat").tokens
    assert not torch.allclose(half, (cat + dog) / 2, atol=1e-4)  # rows are mixed, not states
    for encoder, before in zip(base.text.encoders, tables, strict=True):
        torch.testing.assert_close(encoder.get_input_embeddings().weight, before, rtol=0, atol=0)


def test_the_row_is_mixed_on_the_sphere():
    base, seen = tiny_base(), []
    encoder = base.text_encoder.get_input_embeddings()
    cat, dog = (base.tokenizer(w, add_special_tokens=False).input_ids[0] for w in ("cat", "dog"))
    expected = slerp(encoder.weight[[cat]], encoder.weight[[dog]], 0.3)
    handle = encoder.register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    mixed_states(base, PROMPT, "dog", 0.3, "cat")
    handle.remove()
    ids, out = seen[-1]
    torch.testing.assert_close(out[ids == cat], expected)


def test_all_vectors_of_a_learned_word_are_mixed(result):
    rows = result.token.rows.clone()
    mixed = mixed_states(result, "a photo of a {}", "dog", 1.0).tokens
    text = "a photo of a dog dog cat"
    length = {"padding": "max_length", "max_length": result.token.tokenizer.model_max_length}
    ids = result.token.tokenizer(text, return_tensors="pt", **length).input_ids
    torch.testing.assert_close(mixed, result.base.encode_prompts(ids, result.text).tokens)
    torch.testing.assert_close(result.token.tables[0].table[result.token.ids], rows)


def test_two_learned_words_in_one_model_can_be_mixed(tmp_path):
    """The second is trained on top of the first one's saved model."""
    plan = short(adb.recipe("textual_inversion"), steps=1)
    first = adb.personalize(tiny_base(), tiny_concept(), plan, view_count=2)
    saved = adb.load_result(first.save_pretrained(tmp_path / "first"), device="cpu")
    other = replace(tiny_concept("dog"), name="bolt", placeholder="<bolt>")
    second = adb.personalize(saved.base, other, plan, view_count=2)
    states = mixed_states(second, "a photo of a {}", "<pico>", 0.5).tokens
    assert not torch.allclose(states, text_states(second, "a photo of a {}").tokens)


BAD_MIXTURES = {
    "a share over 1": ({"share": 1.5}, ValueError, "lie in 0 to 1"),
    "no word of a base model": ({"word": None}, TokenError, "has learned no word"),
    "a word of several tokens": ({"other": "gnome"}, TokenError, "only single ones can be mixed"),
    "a word that is not there": ({"word": "dog"}, TokenError, "the prompt has no word 'dog'"),
}


@pytest.mark.parametrize("name", BAD_MIXTURES)
def test_bad_mixtures(name):
    options, kind, message = BAD_MIXTURES[name]
    base = tiny_base()
    before = base.text_encoder.get_input_embeddings().weight.clone()
    with pytest.raises(kind, match=message):
        asked = {"prompt": PROMPT, "other": "bird", "share": 0.5, "word": "cat", **options}
        mixed_states(base, **asked)
    assert (base.text_encoder.get_input_embeddings().weight == before).all()


# ---------------------------------------------------------------- kept pictures


def picture(value, side=8):
    return np.full((side, side, 3), value, np.uint8)


def test_kept_pictures_and_where_they_come_from(tmp_path):
    kept, base = Kept(), tiny_base()
    how = {"prompt": PROMPT, "seed": 3, "box": Box(0, 0, 0.5, 1)}
    assert kept.add(picture(9), how) and not kept.add(picture(9), how)
    assert kept.add(picture(7), {"prompt": PROMPT, "seed": 4})
    assert kept.strip(16).shape == (16, 2 * 16 + 4, 3)
    folder = kept.export(tmp_path / "new" / "liked", base)
    said = json.loads((folder / "provenance.json").read_text())
    assert [entry["seed"] for entry in said["pictures"]] == [3, 4]
    assert said["pictures"][0]["box"] == {"left": 0, "top": 0, "right": 0.5, "bottom": 1}
    for entry, value in zip(said["pictures"], (9, 7), strict=True):
        data = (folder / entry["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"] and opened(data).max() == value
    assert said["model"]["base"] == "random" and said["made_by"] == "a text-to-image model"
    assert said["model"]["base_fingerprint"] == base.fingerprint()
    kept.add(picture(5), {})  # a later export takes the earlier one's place
    assert len(list(kept.export(folder, base).glob("*.png"))) == 3


FOREIGN = {
    "photos": {"a.png": b""},
    "a photo beside an export": {"provenance.json": b'{"pictures": []}', "a.png": b""},
    "a damaged list": {"provenance.json": b"{"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_an_export_replaces_nothing_but_an_export(tmp_path, name):
    for file, data in FOREIGN[name].items():
        (tmp_path / file).write_bytes(data)
    kept = Kept([picture(1)], [{}])
    with pytest.raises(OutputError, match="is in the way"):
        kept.export(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FOREIGN[name].keys()


def test_nothing_kept_is_nothing_to_export(tmp_path):
    with pytest.raises(ValueError, match="nothing is kept yet"):
        Kept().export(tmp_path / "liked")
    with pytest.raises(ValueError, match="nothing is kept yet"):
        Kept().strip()
    with pytest.raises(TypeError):
        Kept().add(picture(1), {"model": object()})


# ---------------------------------------------------------------- sheets and cut-outs


def test_a_sheet_has_every_combination():
    prompts, rows = avatar_prompts(["a photo", "a sketch"], ["on the beach"], ["", "with a hat"])
    assert prompts == [
        "a photo of a {} on the beach",
        "a photo of a {} with a hat on the beach",
        "a sketch of a {} on the beach",
        "a sketch of a {} with a hat on the beach",
    ]
    assert rows == ["a photo", "a photo, with a hat", "a sketch", "a sketch, with a hat"]


def test_a_sheet_of_pictures(result):
    places = ["on the beach", "in the city", "on the moon"]
    found = avatar_sheet(result, ["a photo", "a sketch"], places, seed=4, steps=1)
    assert len(found.images) == 6 and found.prompts[4] == "a sketch of a {} in the city"
    assert close(found.grid[1][1], generate(result, found.prompts[4], [4], steps=1).images[0])
    assert found.sheet(16).shape == (2 * 16 + 4, 3 * 16 + 2 * 4, 3)
    assert [axes.get_title() for axes in found.figure().axes[:3]] == places
    base = avatar_sheet(tiny_base(), ["a photo"], ["on the beach"], subject="cat", steps=1)
    assert base.prompts == ("a photo of a cat on the beach",)


BAD_SHEETS = {
    "no style": (([], ["on the beach"]), "at least one style, got \\[\\]"),
    "a text for a list": ((["a photo"], "on the beach"), "at least one place"),
    "a place twice": ((["a photo"], ["here", "here"]), "a place comes twice"),
    "no prop": ((["a photo"], ["here"], []), "at least one prop"),
}


@pytest.mark.parametrize("name", BAD_SHEETS)
def test_bad_sheets(name):
    words, message = BAD_SHEETS[name]
    with pytest.raises(PromptError, match=message):
        avatar_prompts(*words)


def test_a_sheet_of_a_base_model_needs_a_subject():
    with pytest.raises(PromptError, match="name one, as in subject='cat'"):
        avatar_sheet(tiny_base(), ["a photo"], ["here"])


def test_cutouts_are_transparent_where_the_map_is_low():
    base = tiny_base()
    images = tiny_concept().squares(base.side)
    found = cutouts(base, PROMPT, images, "cat")
    masks = [map_mask(heat, base.side) for heat in picture_maps(base, PROMPT, images, "cat")]
    np.testing.assert_array_equal(found[..., 3] == 255, np.stack(masks))
    np.testing.assert_array_equal(found[..., :3], images)
    assert Image.fromarray(found[0]).mode == "RGBA" and set(np.unique(found[..., 3])) == {0, 255}
    with pytest.raises(ValueError, match="does not fit"):
        cutout(images[0], np.ones((3, 3), bool))


# ---------------------------------------------------------------- the canvas


def test_the_canvas_follows_its_sliders(tmp_path):
    base = tiny_base()
    canvas = Canvas(base, PROMPT, "cat", other="dog", steps=2, folder=tmp_path / "liked")
    assert canvas.box == Box.around(0.25, 0.625, 0.5, 0.625)
    assert "% of the map of 'cat' lies in the box" in canvas.text
    assert opened(canvas.picture.value).shape == (256, 2 * 256 + 8, 3)
    placed = beyond.place(base, PROMPT, canvas.box, "cat", [0], steps=2)
    assert close(canvas.image, placed.images[0])
    first, line, left = canvas.image, canvas.text, opened(canvas.picture.value)[:, :256]
    canvas.across.value = 0.75
    assert not close(canvas.image, first) and canvas.text != line and canvas.box.left == 0.5
    # the left one is what it is without a box
    np.testing.assert_array_equal(opened(canvas.picture.value)[:, :256], left)
    canvas.mix.value = 1.0
    dog = beyond.place(base, PROMPT.replace("cat", "dog"), canvas.box, "dog", [0], steps=2)
    assert close(canvas.image, dog.images[0]) and "100% dog" in canvas.text


def test_the_canvas_keeps_and_exports(tmp_path):
    canvas = Canvas(tiny_base(), PROMPT, "cat", steps=1, folder=tmp_path / "liked")
    assert canvas.mix.layout.display == "none" and canvas.export.disabled
    canvas.keep.click()
    canvas.seed.value = 1
    canvas.keep.click()
    canvas.keep.click()
    assert "kept already" in canvas.status.value and len(canvas.kept) == 2
    assert opened(canvas.strip.value).shape == (128, 2 * 128 + 4, 3)
    canvas.export.click()
    said = json.loads((tmp_path / "liked/provenance.json").read_text())
    assert [entry["seed"] for entry in said["pictures"]] == [0, 1]
    assert said["pictures"][0]["push"]["strength"] == Push().strength
    again = said["pictures"][1]  # what it says is enough to draw the picture again
    placed = beyond.place(
        tiny_base(),
        again["prompt"],
        Box(**again["box"]),
        " ".join(again["words"]),
        [again["seed"]],
        Push(**again["push"]),
        steps=again["steps"],
        guidance=again["guidance"],
    )
    assert close(placed.images[0], canvas.image)


def test_a_canvas_of_a_learned_subject_and_its_errors(result, tmp_path):
    canvas = Canvas(result, other="dog", steps=1, folder=tmp_path)
    assert canvas.words == ("<pico>", "<pico>_1", "cat")
    canvas.mix.value = 0.5
    assert "50% dog" in canvas.text
    canvas.keep.click()
    (tmp_path / "photo.png").write_bytes(b"")
    canvas.export.click()
    assert "OutputError" in canvas.status.value and "is in the way" in canvas.status.value
    figure = canvas.filmstrip(canvas.across, [0.25, 0.75])
    assert len(figure.axes) == 2 and canvas.across.value == 0.25
    for options, message in (
        ({"word": "hat"}, "no word 'hat'"),
        ({"other": "gnome"}, "only single ones"),
    ):
        with pytest.raises(ValueError, match=message):
            Canvas(result, steps=1, **options)


def test_a_slider_that_fails_says_so():
    canvas = Canvas(tiny_base(), PROMPT, "cat", steps=1)
    canvas.model.unet = None
    canvas.seed.value = 5
    assert "Error" in canvas.text
