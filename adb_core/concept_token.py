"""The new word [V]: trainable rows of the token table.

The text encoder stays frozen. A forward hook on its embedding layer puts the rows in place of
the placeholder's, so that they, and nothing else, receive a gradient. A model with several text
encoders has rows for each of them.

Axes: v rows (vectors) of the concept, d channels of the embedding, b batch, k tokens of a prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .drift import Drift, Vocabulary, measure_drift
from .system.files import atomic_write_bytes
from .system.sharing import shared_copy

if TYPE_CHECKING:
    from .base import Base, TextStates


class TokenError(ValueError):
    """A placeholder, category or prompt that cannot be used; one line with the cure."""


def piece_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text without start and end tokens."""
    return tokenizer(text, add_special_tokens=False).input_ids


def check_length(tokenizer: Any, texts: Sequence[str]) -> None:
    """Find prompts whose end the model would never see.

    Raises:
        TokenError: one is too long; the message says by how much.
    """
    most = tokenizer.model_max_length
    for text in texts:
        length = len(tokenizer(text).input_ids)
        if length > most:
            raise TokenError(
                f"prompt of {length} tokens, this model reads {most}: shorten {text!r}"
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


# ---------------------------------------------------------------- the rows in one text encoder


class Rows:
    """The trainable rows of one text encoder, whose token table is replaced by one that grows.

    Attributes:
        rows: float32 parameter (v, d); initial: what it began as.
    """

    def __init__(self, encoder: Any, ids: Sequence[int], start: Tensor, size: int):
        self.encoder, self.ids = encoder, list(ids)
        # its weights are shared with the base model's: the rows go into a table of its own
        encoder.set_input_embeddings(copy.deepcopy(encoder.get_input_embeddings()))
        encoder.resize_token_embeddings(size, mean_resizing=False)
        encoder.requires_grad_(False).eval()
        self.initial = start.float().repeat(len(self.ids), 1).clone()  # (v, d)
        self.rows = torch.nn.Parameter(self.initial.clone(), requires_grad=False)  # a stage trains
        self.bake()

    @property
    def table(self) -> Tensor:
        """The encoder's token table, (n, d)."""
        return self.encoder.get_input_embeddings().weight.detach()

    @torch.no_grad()
    def bake(self) -> None:
        """Write the rows into the encoder's token table."""
        table = self.encoder.get_input_embeddings().weight
        table[self.ids] = self.rows.to(table)

    @contextmanager
    def trainable(self) -> Iterator[None]:
        """Within, the encoder reads ``rows``, which gradient reaches; afterwards they are baked."""
        ids = torch.tensor(self.ids, device=self.rows.device)

        def swap(_, args, out: Tensor) -> Tensor:  # out (b, k, d)
            for number, row in zip(ids, self.rows, strict=True):
                out = torch.where((args[0] == number)[..., None], row.to(out.dtype), out)
            return out

        handle = self.encoder.get_input_embeddings().register_forward_hook(swap)
        try:
            yield
        finally:
            handle.remove()
            self.bake()


# ---------------------------------------------------------------- the word


class ConceptToken:
    """A placeholder with its trainable rows, on copies of a base model's tokenizers and encoders.

    Args:
        base: a loaded model; it is not changed.
        placeholder: the new word, as "<pico>"; several vectors become "<pico>", "<pico>_1", ...
        category: the super-category; one or several tokens.
        init: "category" (mean of its pieces), or a word whose row is copied.
        vectors: number of rows.

    Attributes:
        text: the tokenizers and encoders that know the word; tokenizer, text_encoder: the first.
        tables: the rows in each encoder; rows, initial: those of the first, (v, d) float32.
        ids: the rows' token ids; category_ids: the category's.

    Raises:
        TokenError: the placeholder is a word already, or the category or init has no token.
    """

    def __init__(
        self, base: Base, placeholder: str, category: str, init: str = "category", vectors: int = 1
    ):
        self.base, self.placeholder, self.category = base, placeholder, category
        check_placeholder(base.text.tokenizers[0], placeholder)
        self.category_ids = piece_ids(base.text.tokenizers[0], category)
        if not self.category_ids:
            raise TokenError(
                f"category {category!r} has no token in this model's vocabulary: "
                "name what the pictures show"
            )
        if init != "category" and not piece_ids(base.text.tokenizers[0], init):
            raise TokenError(
                f"init {init!r} has no token in this model's vocabulary: use 'category' or a word"
            )
        self.words = [placeholder] + [f"{placeholder}_{k}" for k in range(1, vectors)]
        encoders = tuple(shared_copy(encoder) for encoder in base.text.encoders)
        self.text = base.text._replace(
            tokenizers=copy.deepcopy(base.text.tokenizers), encoders=encoders
        )
        self.tables: list[Rows] = []
        for tokenizer, encoder in zip(*self.text, strict=True):
            source = piece_ids(tokenizer, category if init == "category" else init)
            tokenizer.add_tokens(self.words)
            start = encoder.get_input_embeddings().weight.detach()[source].mean(0, keepdim=True)
            ids = tokenizer.convert_tokens_to_ids(self.words)
            self.tables.append(Rows(encoder, ids, start, len(tokenizer)))
        self.tokenizer, self.text_encoder = self.text.tokenizers[0], self.text.encoders[0]
        first = self.tables[0]
        self.rows, self.initial, self.ids = first.rows, first.initial, first.ids

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The rows by name: "token.rows", and "token.rows_2", ... of further encoders."""
        rest = {f"token.rows_{n}": table.rows for n, table in enumerate(self.tables[1:], 2)}
        return {"token.rows": self.rows, **rest}

    # ------------------------------------------------------------ prompts

    def expand(self, prompt: str) -> str:
        """Write out all vectors of the placeholder, as the tokenizer needs it."""
        return prompt.replace(self.placeholder, " ".join(self.words))

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (b, k) on the encoder's device, padded to the model's length.

        Raises:
            TokenError: a prompt is too long; the message says by how much.
        """
        texts = [self.expand(p) for p in prompts]
        check_length(self.tokenizer, texts)
        length = self.tokenizer.model_max_length
        padding = {"padding": "max_length", "max_length": length}
        ids = self.tokenizer(texts, return_tensors="pt", **padding).input_ids
        return ids.to(self.rows.device)

    def own_positions(self, ids: Tensor) -> list[int]:
        """Where [V] stands in one tokenized prompt, (k,): one position a vector.

        Raises:
            TokenError: it is missing or comes twice.
        """
        v = [k for k, i in enumerate(ids.tolist()) if i in self.ids]
        if len(v) != len(self.ids):
            what = "does not contain" if not v else "repeats"
            raise TokenError(f"the prompt {what} {self.placeholder!r}: it must come exactly once")
        return v

    def positions(self, ids: Tensor) -> tuple[list[int], list[int]]:
        """Where [V] and its category stand in one tokenized prompt, (k,).

        The category counts where it directly follows [V], else where it first appears.

        Raises:
            TokenError: [V] is missing or comes twice, or the category is missing.
        """
        row, v = ids.tolist(), self.own_positions(ids)
        n, after = len(self.category_ids), v[-1] + 1
        starts = [k for k in range(len(row) - n + 1) if row[k : k + n] == self.category_ids]
        if not starts:
            raise TokenError(
                f"the prompt does not contain the category {self.category!r}: "
                "the regularizer compares [V] with it"
            )
        start = after if after in starts else starts[0]
        return v, list(range(start, start + n))

    # ------------------------------------------------------------ encoding and training

    @contextmanager
    def trainable(self) -> Iterator[torch.nn.Parameter]:
        """Within, gradient reaches the rows, and nothing else; afterwards they are baked in."""
        with ExitStack() as stack:
            for table in self.tables:
                stack.enter_context(table.trainable())
            yield self.rows

    def bake(self) -> None:
        """Write the rows into the encoders' token tables."""
        for table in self.tables:
            table.bake()

    def states(self, ids: Tensor) -> TextStates:
        """What the U-Net reads of token ids (b, k)."""
        return self.base.encode_prompts(ids, self.text)

    def encode(self, ids: Tensor) -> Tensor:
        """The states of the tokens alone, (b, k, d), of token ids (b, k)."""
        return self.states(ids).tokens

    # ------------------------------------------------------------ files and drift

    def save(self, path: str | Path) -> None:
        """Write ``learned_embeds.safetensors`` as ``load_textual_inversion`` reads it.

        One key, the placeholder, of shape (v, d). Of two encoders, as SDXL has, "clip_l" and
        "clip_g", one for each: ``load_textual_inversion`` takes them one by one, with ``token=``,
        ``text_encoder=`` and ``tokenizer=``.
        """
        from safetensors.torch import save

        keys = (self.placeholder,) if len(self.tables) == 1 else ("clip_l", "clip_g")
        rows = {
            k: t.rows.detach().cpu().contiguous() for k, t in zip(keys, self.tables, strict=True)
        }
        atomic_write_bytes(path, save(rows))

    def drift(self, nearest: int = 5) -> Drift:
        """How far the rows are from where they began; see :func:`adb_core.drift.measure_drift`."""
        words = Vocabulary(self.tables[0].table, self.tokenizer, self.ids, self.category_ids)
        return measure_drift(self.rows, self.initial, words, nearest)
