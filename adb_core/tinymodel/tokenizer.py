"""The toy world's own CLIP tokenizer: a small byte-level BPE, every known word one token.

One word, one token keeps attention maps readable ("the map of *hat*"). Whatever the grammar
does not know, emoji included, still tokenizes: it falls back to pieces and, last, to bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..toyworld.grammar import vocabulary

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

TEXT_WIDTH = 128  # channels of a word's state; the U-Net's cross_attention_dim
# The grammar's longest caption has 31 words, 33 tokens with start and end. The other seven are for
# prompts the grammar does not know: a placeholder of several vectors, or a word spelt in bytes.
MAX_LENGTH = 40
START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes of GPT-2's and CLIP's byte-level BPE, in byte order."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair encoding learnt until every word is a single token.

    Applying the merges in the order in which they were learnt repeats the learning, so each of
    ``words`` (ASCII, lower case) ends as one token. The most frequent pair goes first, ties
    alphabetically, so the result depends on the set of words alone.
    """
    pieces = [[*word[:-1], word[-1] + _WORD_END] for word in sorted(set(words))]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for piece in pieces for pair in zip(piece, piece[1:], strict=False))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merge(piece, best) for piece in pieces]


def _merge(piece: list[str], pair: tuple[str, str]) -> list[str]:
    out, i = [], 0
    while i < len(piece):
        if tuple(piece[i : i + 2]) == pair:
            out.append(piece[i] + piece[i + 1])
            i += 2
        else:
            out.append(piece[i])
            i += 1
    return out


def build_tokenizer() -> CLIPTokenizer:
    """A ``transformers`` CLIPTokenizer for the toy world, the same at every call.

    Lower-cases, wraps in start and end, pads with the end token up to ``MAX_LENGTH``, as Stable
    Diffusion 1.x does.
    """
    from transformers import CLIPTokenizer

    merges = learn_merges(vocabulary())
    symbols = byte_symbols()
    tokens = [
        *symbols,
        *(s + _WORD_END for s in symbols),
        *("".join(pair) for pair in merges),
        START,
        END,
    ]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=MAX_LENGTH,
    )


def encode(tokenizer: CLIPTokenizer, captions: list[str]):
    """Token ids, int64 (b, MAX_LENGTH), padded and cut to length as the SD pipeline does."""
    return tokenizer(
        list(captions),
        padding="max_length",
        max_length=MAX_LENGTH,
        truncation=True,
        return_tensors="pt",
    ).input_ids
