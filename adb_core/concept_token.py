"""The new word [V]: trainable rows of the token table, and how far they drift.

The text encoder stays frozen. A forward hook on its embedding layer puts the rows in place of
the placeholder's, so that they, and nothing else, receive a gradient.

Axes: v rows (vectors) of the concept, d channels of the embedding, k tokens of a prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .system.files import atomic_write_bytes


class TokenError(ValueError):
    """A placeholder, category or prompt that cannot be used; one line with the cure."""


def piece_ids(tokenizer, text: str) -> list[int]:
    """Token ids of a text without start and end tokens."""
    return tokenizer(text, add_special_tokens=False).input_ids


def check_length(tokenizer, texts: Sequence[str]) -> None:
    """Find prompts whose end the model would never see.

    Raises:
        TokenError: one is too long; the message says by how much.
    """
    for text in texts:
        length = len(tokenizer(text).input_ids)
        if length > tokenizer.model_max_length:
            raise TokenError(
                f"prompt of {length} tokens, this model reads {tokenizer.model_max_length}: shorten {text!r}"
            )


def is_known(tokenizer, text: str) -> bool:
    """Whether a text is already a single token of the vocabulary."""
    vocabulary = tokenizer.get_vocab()
    return text in vocabulary or text.lower() + "</w>" in vocabulary


def swallowed_by(tokenizer, text: str) -> str | None:
    """A word of the vocabulary that holds ``text``, if there is one.

    The tokenizer cuts added words out of the text before it looks at anything else, so such a
    placeholder would break that word in every prompt.
    """
    words = (w[: -len("</w>")] for w in tokenizer.get_vocab() if w.endswith("</w>"))
    return min((w for w in words if text.lower() in w), key=len, default=None)


class ConceptToken:
    """A placeholder with its trainable rows, on copies of a base model's tokenizer and text encoder.

    Args:
        base: a loaded :class:`adb_core.base.Base`; it is not changed.
        placeholder: the new word, as "<pico>"; several vectors become "<pico>", "<pico>_1", ...
        category: the super-category; one or several tokens.
        init: "category" (mean of its pieces), or a word whose row is copied.
        vectors: number of rows.

    Attributes:
        rows: float32 parameter (v, d).
        ids: the rows' token ids.

    Raises:
        TokenError: the placeholder is a word already, or the category or init has no token.
    """

    def __init__(
        self, base, placeholder: str, category: str, init: str = "category", vectors: int = 1
    ):
        if not placeholder or any(ch.isspace() for ch in placeholder):
            raise TokenError(
                f"placeholder {placeholder!r} must be one word without spaces, for example '<v>'"
            )
        if is_known(base.tokenizer, placeholder):
            raise TokenError(
                f"placeholder {placeholder!r} is already a word of the vocabulary: choose another, for example '<{placeholder}>'"
            )
        inside = swallowed_by(base.tokenizer, placeholder)
        if inside is not None:
            raise TokenError(
                f"placeholder {placeholder!r} is part of the word {inside!r}, which it would cut apart: choose another, for example '<{placeholder}>'"
            )
        category_ids = piece_ids(base.tokenizer, category)
        if not category_ids:
            raise TokenError(
                f"category {category!r} has no token in this model's vocabulary: name what the pictures show"
            )
        source = category_ids if init == "category" else piece_ids(base.tokenizer, init)
        if not source:
            raise TokenError(
                f"init {init!r} has no token in this model's vocabulary: use 'category' or a word"
            )
        self.placeholder, self.category, self.init = placeholder, category, init
        self.tokenizer = copy.deepcopy(base.tokenizer)
        self.text_encoder = copy.deepcopy(base.text_encoder)
        self.words = [placeholder] + [f"{placeholder}_{k}" for k in range(1, vectors)]
        self.tokenizer.add_tokens(self.words)
        self.text_encoder.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        self.text_encoder.requires_grad_(False).eval()
        self.ids = self.tokenizer.convert_tokens_to_ids(self.words)
        self.category_ids = category_ids
        table = self._table()
        start = (
            table[source].mean(0, keepdim=True)
            if init == "category" or len(source) > 1
            else table[source]
        )
        self.initial = start.float().repeat(vectors, 1).clone()  # (v, d)
        self.rows = torch.nn.Parameter(
            self.initial.clone(), requires_grad=False
        )  # a stage switches it on
        self.bake()

    def _table(self) -> Tensor:
        return self.text_encoder.get_input_embeddings().weight.detach()

    # ------------------------------------------------------------ prompts

    def expand(self, prompt: str) -> str:
        """Write out all vectors of the placeholder, as the tokenizer needs it."""
        return (
            prompt.replace(self.placeholder, " ".join(self.words))
            if len(self.words) > 1
            else prompt
        )

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (b, k) on the encoder's device, padded to the model's length.

        Raises:
            TokenError: a prompt is too long; the message says by how much.
        """
        texts = [self.expand(p) for p in prompts]
        check_length(self.tokenizer, texts)
        ids = self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
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
        n = len(self.category_ids)
        after = v[-1] + 1
        starts = (
            [after]
            if row[after : after + n] == self.category_ids
            else [k for k in range(len(row) - n + 1) if row[k : k + n] == self.category_ids]
        )
        if not starts:
            raise TokenError(
                f"the prompt does not contain the category {self.category!r}: the regularizer compares [V] with it"
            )
        return v, list(range(starts[0], starts[0] + n))

    # ------------------------------------------------------------ encoding and training

    @contextmanager
    def trainable(self) -> Iterator[torch.nn.Parameter]:
        """Within, the encoder uses ``rows`` and gradient reaches them alone; afterwards they are baked in."""
        ids = torch.tensor(self.ids, device=self.rows.device)

        def swap(_, args, out: Tensor) -> Tensor:  # out (b, k, d)
            for number, row in zip(ids, self.rows):
                out = torch.where((args[0] == number)[..., None], row.to(out.dtype), out)
            return out

        handle = self.text_encoder.get_input_embeddings().register_forward_hook(swap)
        try:
            yield self.rows
        finally:
            handle.remove()
            self.bake()

    @torch.no_grad()
    def bake(self) -> None:
        """Write the rows into the encoder's token table."""
        table = self.text_encoder.get_input_embeddings().weight
        table[self.ids] = self.rows.to(table)

    def encode(self, ids: Tensor) -> Tensor:
        """Text states (b, k, d) of token ids (b, k)."""
        return self.text_encoder(input_ids=ids).last_hidden_state

    # ------------------------------------------------------------ files

    def save(self, path) -> None:
        """Write ``learned_embeds.safetensors``: one key, shape (v, d), as ``load_textual_inversion`` reads it."""
        from safetensors.torch import save

        atomic_write_bytes(path, save({self.placeholder: self.rows.detach().cpu().contiguous()}))

    # ------------------------------------------------------------ drift

    def drift(self, nearest: int = 5) -> Drift:
        """How far the rows are from where they began, by the numbers a learner looks at (mean over rows)."""
        table = self._table().float()
        known = torch.ones(len(table), dtype=torch.bool)
        known[self.ids] = False
        row, start = self.rows.detach().float().mean(0), self.initial.to(self.rows.device).mean(0)
        category = table[self.category_ids].mean(0)
        cosine = torch.nn.functional.cosine_similarity
        vocabulary = table[known]
        similar = cosine(row[None], vocabulary)
        top = similar.topk(nearest)
        numbers = torch.arange(len(table), device=table.device)[known][top.indices]
        words = [
            w.replace("</w>", "") for w in self.tokenizer.convert_ids_to_tokens(numbers.tolist())
        ]
        return Drift(
            distance=float((row - start).norm()),
            cosine_to_start=float(cosine(row, start, dim=0)),
            cosine_to_category=float(cosine(row, category, dim=0)),
            norm=float(row.norm()),
            vocabulary_norm=float(vocabulary.norm(dim=1).mean()),
            nearest=tuple(zip(words, top.values.tolist())),
        )


@dataclass(frozen=True)
class Drift:
    """Where [V] is among the words.

    Attributes:
        distance: Euclidean distance to its initial value; cosines to that and to the category.
        norm, vocabulary_norm: length of the row and mean length of the vocabulary's rows.
        nearest: (word, cosine) of the nearest vocabulary words, best first.
    """

    distance: float
    cosine_to_start: float
    cosine_to_category: float
    norm: float
    vocabulary_norm: float
    nearest: tuple[tuple[str, float], ...]


class Projection:
    """A 2-D principal-component projection fitted once on a vocabulary, so that drift is seen against a fixed map."""

    def __init__(self, table: Tensor):
        """``table``: (words, d)."""
        table = table.detach().float().cpu()
        self.mean = table.mean(0)
        _, _, axes = torch.linalg.svd(table - self.mean, full_matrices=False)
        axes = axes[:2]
        # the sign of a principal axis is arbitrary: fix it, so that every machine draws the same map
        self.axes = axes * torch.where(
            axes.gather(1, axes.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0
        )

    def __call__(self, rows: Tensor) -> Tensor:
        """(..., d) -> (..., 2)."""
        return (rows.detach().float().cpu() - self.mean) @ self.axes.T
