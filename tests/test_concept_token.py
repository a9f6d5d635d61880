"""The new word: its rows, its positions in prompts, its file."""

import pytest
import torch
from models import tiny_base

from adb_core.concept_token import ConceptToken, TokenError


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
    assert token.encode(like).requires_grad is False


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


def test_more_vectors_than_a_prompt_holds_are_refused_before_anything_is_copied(monkeypatch):
    base = tiny_base()
    most = base.tokenizer.model_max_length - 3  # start, end, and the category
    monkeypatch.setattr("adb_core.concept_token.shared_copy", lambda *_: pytest.fail("copied"))
    for vectors in (most + 1, 10**9):
        with pytest.raises(
            TokenError, match=f"{vectors} vectors are more than a prompt holds"
        ) as e:
            ConceptToken(base, "<pico>", "cat", vectors=vectors)
        assert f"use at most {most} " in str(e.value) and "\n" not in str(e.value)
    monkeypatch.undo()
    token = ConceptToken(base, "<pico>", "cat", vectors=most)
    assert token.tokenize(["<pico> cat"]).shape == (1, base.tokenizer.model_max_length)
    with pytest.raises(TokenError, match=f"use fewer than {most} vectors, or shorten"):
        token.tokenize(["a <pico> cat"])


def test_a_word_shares_its_encoder_with_the_base_but_for_the_table():
    base = tiny_base()
    token = ConceptToken(base, "<pico>", "cat")
    shared = {p.data_ptr() for p in base.text_encoder.parameters()}
    own = [n for n, p in token.text_encoder.named_parameters() if p.data_ptr() not in shared]
    assert len(own) == 1 and "token_embedding" in own[0]


@pytest.mark.parametrize("vectors", [1, 3])
def test_rows_are_read_as_they_were_written(tmp_path, vectors):
    path = tmp_path / "learned_embeds.safetensors"
    one, two = (ConceptToken(tiny_base(), "<pico>", "cat", vectors=vectors) for _ in range(2))
    one.rows.data.normal_()
    one.bake()
    one.save(path)
    two.load(path)
    assert torch.equal(one.rows, two.rows)
    ids = one.tokenize(["a <pico> cat"])
    assert torch.equal(two.encode(ids), one.encode(ids))
    other = ConceptToken(tiny_base(), "<pico>", "cat", vectors=vectors + 1)
    with pytest.raises(TokenError, match="rows of shape"):
        other.load(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(TokenError, match="missing or damaged"):
        two.load(path)
