"""Reading the rows of a learned word, as :meth:`ConceptToken.save` writes them."""

from __future__ import annotations

from pathlib import Path

from .concept_token import ConceptToken, TokenError


def load_rows(path: str | Path, token: ConceptToken) -> None:
    """Put the rows of a file into a word, one tensor an encoder, and bake them in.

    Raises:
        TokenError: no such file, a damaged one, or rows of another number or width.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        keys = tuple(tensors) if len(token.tables) == 1 else ("clip_l", "clip_g")
        rows = [tensors[key] for key in keys]
    except (SafetensorError, OSError, KeyError) as error:
        raise TokenError(
            f"{path} is missing or damaged ({error}): train again, or copy the folder again"
        ) from error
    wanted = [table.rows for table in token.tables]
    if [r.shape for r in rows] != [w.shape for w in wanted]:
        raise TokenError(
            f"{path} holds rows of shape {[tuple(r.shape) for r in rows]}, this model takes "
            f"{[tuple(w.shape) for w in wanted]}: give the base model that it was trained on"
        )
    for row, parameter in zip(rows, wanted, strict=True):
        parameter.data.copy_(row)
    token.bake()
