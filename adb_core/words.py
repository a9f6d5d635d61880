"""What may become a word, and what fits into a prompt: checks against a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class TokenError(ValueError):
    """A placeholder, category or prompt that cannot be used; one line with the cure."""


def piece_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text without start and end tokens."""
    return tokenizer(text, add_special_tokens=False).input_ids


def check_length(tokenizer: Any, texts: Sequence[str], vectors: int = 1) -> None:
    """Find prompts whose end the model would never see.

    Args:
        vectors: of the learned word, which the texts write out.

    Raises:
        TokenError: one is too long; the message says by how much.
    """
    most = tokenizer.model_max_length
    for text in texts:
        length = len(tokenizer(text).input_ids)
        if length > most:
            fewer = f"use fewer than {vectors} vectors, or " if vectors > 1 else ""
            raise TokenError(
                f"prompt of {length} tokens, this model reads {most}: {fewer}shorten {text!r}"
            )


def is_known(tokenizer: Any, text: str) -> bool:
    """Whether a text is already a single token of the vocabulary."""
    vocabulary = tokenizer.get_vocab()
    return text in vocabulary or text.lower() + "</w>" in vocabulary


def swallowed_by(tokenizer: Any, text: str) -> str | None:
    """A word of the vocabulary that holds ``text``, if there is one.

    The tokenizer cuts added words out of the text before it looks at anything else, so such a
    placeholder would break that word in every prompt.
    """
    words = (w[: -len("</w>")] for w in tokenizer.get_vocab() if w.endswith("</w>"))
    return min((w for w in words if text.lower() in w), key=len, default=None)


def check_placeholder(tokenizer: Any, placeholder: str) -> None:
    """Find out whether a text can become a new word.

    Raises:
        TokenError: it has spaces, is a word already, or would cut one apart.
    """
    if not placeholder or any(ch.isspace() for ch in placeholder):
        raise TokenError(
            f"placeholder {placeholder!r} must be one word without spaces, for example '<v>'"
        )
    other = f"choose another, for example '<{placeholder}>'"
    if is_known(tokenizer, placeholder):
        raise TokenError(
            f"placeholder {placeholder!r} is already a word of the vocabulary: {other}"
        )
    inside = swallowed_by(tokenizer, placeholder)
    if inside is not None:
        raise TokenError(
            f"placeholder {placeholder!r} is part of the word {inside!r}, "
            f"which it would cut apart: {other}"
        )


def check_vectors(tokenizer: Any, vectors: int, others: int) -> None:
    """Find out whether the vectors of a word, and ``others`` tokens, fit into a prompt.

    Raises:
        TokenError: they do not; the message says how many would.
    """
    room = tokenizer.model_max_length - 2 - others  # a start and an end
    if vectors > room:
        raise TokenError(
            f"{vectors} vectors are more than a prompt holds: this model reads "
            f"{tokenizer.model_max_length} tokens, use at most {room} (1 to 4 are usual)"
        )
