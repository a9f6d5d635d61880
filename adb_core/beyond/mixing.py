"""Two words, mixed: one row of the token table on its way to another. Prompts: see ``walks.py``.

What is possible. Two words can be mixed where both have a row in one model's table: a learned word
with its category or with any other word; two learned words, if the second was trained on top of
the first one's saved model, or both by Textual Inversion, which changes nothing but rows. Two
concepts that each changed a U-Net of their own have no model in common: between these, only
pictures can be compared.

Axes: k tokens, d channels of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..base import Drawable, TextStates
from ..concept_token import TokenError, piece_ids
from .states import token_ids
from .walks import slerp


@torch.no_grad()
def mixed_states(
    model: Drawable, prompt: str, other: str, share: float, word: str | None = None
) -> TextStates:
    """A prompt's text states with one word's row on the way to another's.

    The rows are mixed on the sphere (:func:`adb_core.beyond.slerp`), in every text encoder, before
    the encoder reads them; afterwards the tables are as they were.

    Args:
        prompt: with ``{}`` for a model that has learned a concept; it holds ``word``.
        other: a word of the vocabulary, learned or not. share: of it, 0 to 1.
        word: whose row is mixed; None is the learned word, all of its vectors.

    Raises:
        TokenError: a word that is no single token, or not in the prompt. ValueError: a share
            outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of {other!r} must lie in 0 to 1, got {share}")
    model.pipeline()  # writes a word that is still in training into its table
    ids = token_ids(model, prompt)[1]
    names = list(model.words) if word is None else [word]
    if not names:
        raise TokenError("a base model has learned no word: name one of the prompt's with word=")
    with _mixed_rows(model, names, other, share, ids):
        return model.base.encode_prompts(ids, model.text)


def row_of(tokenizer: Any, word: str) -> int:
    """The one row of a word in the token table.

    Raises:
        TokenError: it has none or several.
    """
    found = piece_ids(tokenizer, word)
    if len(found) != 1 or found[0] == tokenizer.unk_token_id and word != tokenizer.unk_token:
        raise TokenError(
            f"{word!r} is {len(found)} tokens in this model, and only single ones can be mixed: "
            "choose another word"
        )
    return found[0]


@contextmanager
def _mixed_rows(
    model: Drawable, names: list[str], other: str, share: float, ids: Tensor
) -> Iterator[None]:
    """Within, the rows of some words are on their way to another's, in every encoder."""
    saved: list[tuple[Tensor, list[int], Tensor]] = []
    try:
        for tokenizer, encoder in zip(*model.text, strict=True):
            table = encoder.get_input_embeddings().weight
            rows, goal = [row_of(tokenizer, name) for name in names], row_of(tokenizer, other)
            missing = [n for n, row in zip(names, rows, strict=True) if row not in ids[0].tolist()]
            if missing:
                raise TokenError(f"the prompt has no word {missing[0]!r}: put it in, to mix it")
            saved.append((table, rows, table[rows].clone()))
            table[rows] = slerp(table[rows], table[[goal] * len(rows)], share)
        yield
    finally:
        for table, rows, before in saved:
            table[rows] = before
