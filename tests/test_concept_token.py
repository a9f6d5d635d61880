"""Concepts from folders, and the new word: rows, positions, drift."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import tiny_base
from PIL import Image

from adb_core.concept import Concept, bundled_concepts
from adb_core.concept_token import ConceptToken, TokenError
from adb_core.drift import Projection
from adb_core.images import Augmentation, ConceptError, read_image, view, views


def picture(path, size=(40, 30), mode="RGB", **save):
    rng = np.random.default_rng(len(str(path.name)))
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode).save(
        path, **save
    )
    return path


# ---------------------------------------------------------------- concepts


def test_folder_with_all_kinds_of_images(tmp_path):
    for name, mode in (("b.jpg", "L"), ("a.png", "RGBA"), ("c.webp", "RGB"), ("d.PNG", "P")):
        picture(tmp_path / name, mode=mode, **({"format": "PNG"} if name.endswith("PNG") else {}))
    (tmp_path / "notes.txt").write_text("hello")
    concept = Concept.from_folder(tmp_path, category="toy")
    assert len(concept.images) == 4 and all(
        i.shape == (30, 40, 3) and i.dtype == np.uint8 for i in concept.images
    )
    assert concept.skipped == (("notes.txt", "not one of .png, .jpg, .jpeg, .webp"),)
    assert concept.placeholder == f"<{tmp_path.name.lower()}>"


def test_exif_orientation_is_honoured(tmp_path):
    image = Image.fromarray(
        np.arange(40 * 30 * 3, dtype=np.uint32).reshape(30, 40, 3).astype(np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    )


@pytest.mark.parametrize(
    "name, mode",
    [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.png", "RGB"), ("a.png", "P"), ("a.webp", "RGB")],
)
def test_large_photos_are_reduced_and_look_the_same(tmp_path, name, mode):
    small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((3200, 2400), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side: the reduction must not come in the way
    large.save(tmp_path / name, exif=exif)
    found = read_image(tmp_path / name)
    assert found.shape == (1365, 1024, 3)
    wanted = np.asarray(
        large.convert("RGB")
        .transpose(Image.Transpose.ROTATE_270)
        .resize((1024, 1365), Image.Resampling.LANCZOS)
    )
    assert np.abs(found.astype(int) - wanted).mean() < 3


def test_grey_pictures_of_sixteen_bits_keep_their_tones(tmp_path):
    tones = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(tones).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png")[..., 0], np.arange(256).reshape(16, 16)
    )


def test_a_folder_named_like_a_picture_is_reported(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    assert Concept.from_folder(tmp_path, category="cat").skipped == (("b.png", "a folder"),)


def test_transparency_lies_over_white(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()


def _bad(tmp_path, kind):
    path = tmp_path / "bad.png"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "cut":
        path.write_bytes(picture(tmp_path / "x.png").read_bytes()[:200])
        (tmp_path / "x.png").unlink()
    elif kind == "pixel":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "bomb":
        Image.new("L", (10_000, 10_000)).save(path)
    return path


@pytest.mark.parametrize(
    "kind, says",
    [
        ("empty", "is empty .0 bytes.: remove it"),
        ("text", "cannot be read as an image"),
        ("cut", "cannot be read as an image"),
        ("pixel", "only 1 x 1 pixels"),
        ("bomb", "scale it down"),
    ],
)
def test_one_bad_image_among_good_ones_is_named(tmp_path, kind, says):
    picture(tmp_path / "good.png")
    bad = _bad(tmp_path, kind)
    with pytest.raises(ConceptError, match=says) as caught:
        Concept.from_folder(tmp_path, category="cat")
    assert str(bad) in str(caught.value) and "\n" not in str(caught.value)


def test_folders_that_are_not_concepts(tmp_path):
    with pytest.raises(ConceptError, match="no concept folder at"):
        Concept.from_folder(tmp_path / "nowhere")
    with pytest.raises(ConceptError, match="holds no images"):
        Concept.from_folder(tmp_path, category="cat")
    picture(tmp_path / "a.png")
    with pytest.raises(ConceptError, match="pass a category"):
        Concept.from_folder(tmp_path)
    with pytest.raises(ConceptError, match="one word without spaces"):
        Concept.from_folder(tmp_path, category="cat", placeholder="my cat")
    (tmp_path / "concept.json").write_text("{")
    with pytest.raises(ConceptError, match="not valid JSON"):
        Concept.from_folder(tmp_path, category="cat")


def test_bundled_concepts_load_with_masks():
    names = bundled_concepts()
    for name in names["tuning"] + names["held_out"]:
        concept = Concept.bundled(name)
        assert len(concept.images) == len(concept.masks) == 5 and concept.placeholder == f"<{name}>"
        assert all(0.03 < m.mean() < 0.6 for m in concept.masks)
    with pytest.raises(ConceptError, match="unknown concept 'nobody': choose one of"):
        Concept.bundled("nobody")


@given(st.integers(9, 60), st.integers(9, 60), st.integers(0, 1000), st.floats(0.3, 1.0))
@settings(max_examples=40, deadline=None)
def test_views_are_square_and_have_no_black_corners(h, w, seed, crop):
    white = np.full((h, w, 3), 255, np.uint8)
    out = view(white, 16, np.random.default_rng(seed), Augmentation(crop, flip=True))
    assert out.shape == (16, 16, 3) and (out == 255).all()


def test_views_are_deterministic_and_start_with_the_photos():
    images = [
        np.random.default_rng(k).integers(0, 256, (20, 30, 3), dtype=np.uint8) for k in range(3)
    ]
    a, b = views(images, 16, 4, seed=1), views(images, 16, 4, seed=1)
    np.testing.assert_array_equal(a, b)
    assert a.shape == (12, 16, 16, 3) and not np.array_equal(a, views(images, 16, 4, seed=2))
    np.testing.assert_array_equal(a[:3], [view(i, 16) for i in images])
    np.testing.assert_array_equal(
        views(images, 16, 2, seed=1), a[:6]
    )  # more views only add to fewer
    with pytest.raises(ValueError, match="at least 1"):
        views(images, 16, 0, seed=1)


# ---------------------------------------------------------------- the new word


def test_rows_start_as_the_category_and_only_they_get_gradient():
    token = ConceptToken(tiny_base(), "<pico>", "cat")
    ids = token.tokenize(["a photo of a <pico> cat"])
    like = token.tokenize(["a photo of a cat cat"])
    torch.testing.assert_close(token.encode(ids), token.encode(like))
    with token.trainable() as rows:
        rows.requires_grad_(True)
        token.encode(ids).square().sum().backward()
        assert rows.grad.abs().sum() > 0
        assert all(p.grad is None for p in token.text_encoder.parameters())
        rows.grad = None
        token.encode(like).requires_grad is False


def test_training_changes_the_row_alone_and_bakes_it():
    base = tiny_base()
    token = ConceptToken(base, "<pico>", "cat")
    before = {n: p.clone() for n, p in token.text_encoder.named_parameters()}
    with torch.no_grad(), token.trainable() as rows:
        rows.add_(1.0)
        inside = token.encode(token.tokenize(["a <pico> cat"]))
    torch.testing.assert_close(token.encode(token.tokenize(["a <pico> cat"])), inside)
    for name, p in token.text_encoder.named_parameters():
        if p.shape[0] == before[name].shape[0] and "token_embedding" in name:
            changed = (p != before[name]).any(1).nonzero().flatten().tolist()
            assert changed == token.ids
        else:
            assert torch.equal(p, before[name])
    assert len(base.tokenizer) == len(token.tokenizer) - 1  # the base is untouched


def test_several_vectors_are_written_out_and_found():
    token = ConceptToken(tiny_base(), "<pico>", "cat", vectors=3)
    ids = token.tokenize(["a photo of a <pico> cat"])[0]
    v, category = token.positions(ids)
    assert v == [5, 6, 7] and category == [8]
    assert token.rows.shape == (3, 12)


def test_category_of_several_pieces_and_category_after_v_wins():
    token = ConceptToken(tiny_base(), "<pico>", "garden gnome")
    assert len(token.category_ids) > 2
    v, category = token.positions(
        token.tokenize(["a photo of a <pico> garden gnome on the beach"])[0]
    )
    assert category == list(range(v[0] + 1, v[0] + 1 + len(token.category_ids)))
    token = ConceptToken(tiny_base(), "<pico>", "cat")
    v, category = token.positions(token.tokenize(["a cat and a <pico> cat"])[0])
    assert category == [v[0] + 1]


@pytest.mark.parametrize(
    "placeholder, category, init, says",
    [
        ("cat", "cat", "category", "already a word"),
        ("my cat", "cat", "category", "one word without spaces"),
        ("", "cat", "category", "one word without spaces"),
        ("<v>", "", "category", "has no token"),
        ("<v>", "cat", "", "has no token"),
    ],
)
def test_bad_words_are_refused(placeholder, category, init, says):
    with pytest.raises(TokenError, match=says):
        ConceptToken(tiny_base(), placeholder, category, init)


def test_prompts_without_or_with_too_much_are_refused():
    token = ConceptToken(tiny_base(), "<pico>", "cat")
    with pytest.raises(TokenError, match="does not contain '<pico>'"):
        token.positions(token.tokenize(["a photo of a cat"])[0])
    with pytest.raises(TokenError, match="repeats '<pico>'"):
        token.positions(token.tokenize(["a <pico> <pico> cat"])[0])
    with pytest.raises(TokenError, match="does not contain the category 'cat'"):
        token.positions(token.tokenize(["a <pico> dog"])[0])
    with pytest.raises(TokenError, match="shorten"):
        token.tokenize(["cat " * 40])


def test_saved_embedding_is_read_by_plain_diffusers(tmp_path):
    base = tiny_base()
    token = ConceptToken(base, "<pico>", "cat", vectors=2)
    with torch.no_grad():
        token.rows.normal_()
    token.save(tmp_path / "learned_embeds.safetensors")
    pipeline = base.pipeline()
    pipeline.load_textual_inversion(str(tmp_path / "learned_embeds.safetensors"))
    rows = pipeline.text_encoder.get_input_embeddings().weight[
        pipeline.tokenizer.convert_tokens_to_ids(["<pico>", "<pico>_1"])
    ]
    torch.testing.assert_close(rows, token.rows.detach())


def test_drift_measures_what_it_says():
    token = ConceptToken(tiny_base(), "<pico>", "cat")
    start = token.drift()
    assert (
        start.distance == 0
        and abs(start.cosine_to_start - 1) < 1e-5
        and start.nearest[0][0] == "cat"
    )
    with torch.no_grad():
        token.rows += 2 * torch.nn.functional.normalize(token.rows, dim=1)
    moved = token.drift()
    assert abs(moved.distance - 2) < 1e-4 and abs(moved.cosine_to_start - 1) < 1e-5
    assert abs(moved.norm - start.norm - 2) < 1e-4


def test_projection_is_a_fixed_map():
    table = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    project = Projection(table)
    torch.testing.assert_close(project(table).mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(Projection(table)(table), project(table))
    spread = project(table).var(0)
    assert spread[0] >= spread[1] and json.dumps(spread.tolist())
