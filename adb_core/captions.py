"""Captions of photos: what a picture shows, said by whoever took it, as a training prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .images import ConceptError

METADATA = "metadata.jsonl"  # a line for each picture: {"file_name": "a.jpg", "text": "..."}


def read_captions(files: Sequence[Path], words: Sequence[str]) -> tuple[str | None, ...]:
    """The caption of every picture as a template with ``{}``, None where it has none.

    A text file of the picture's name comes before its line in ``metadata.jsonl``.

    Args:
        files: the pictures, of one folder; words: what else a caption may call the concept, the
            longest first.

    Raises:
        ConceptError: an unreadable file, or a caption that does not name the concept once.

    Returns:
        One entry a picture, or none at all where no picture has a caption.
    """
    listed = _read_metadata(files[0].parent / METADATA)
    captions: list[str | None] = []
    for file in files:
        beside = file.with_suffix(".txt")
        where, text = (
            (beside, _read(beside))
            if beside.is_file()
            else (file.parent / METADATA, listed.get(file.name, ""))
        )
        captions.append(as_template(text, words, where) if text.strip() else None)
    return tuple(captions) if any(captions) else ()


def as_template(caption: str, words: Sequence[str], where: Path) -> str:
    """A caption with ``{}`` in place of the concept.

    Raises:
        ConceptError: it names the concept nowhere, or twice.
    """
    text = " ".join(caption.split())
    for word in ("{}", *words):
        if word not in text:
            continue
        template = text.replace(word, "{}")
        if template.count("{}") == 1 and not set("{}") & set(template.replace("{}", "")):
            return template
        break
    raise ConceptError(
        f"the caption {text!r} in {where} must name the concept exactly once: "
        f"write {{}} or {words[-1]} where it goes"
    )


def caption_numbers(captions: Sequence[str | None], prompts: int) -> np.ndarray:
    """Which prompt each photo has, (photos,), where captions stand after ``prompts`` others.

    -1 for a photo without a caption; empty where there are no captions.
    """
    numbers, after = [], prompts
    for caption in captions:
        numbers.append(after if caption else -1)
        after += bool(caption)
    return np.array(numbers, dtype=int)


def own_prompts(numbers: np.ndarray, rows: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The prompts (b,) of cached views (b,), those of captioned photos in place of the drawn ones.

    Args:
        numbers: of :func:`caption_numbers`; view r is one of photo r modulo the photos.
    """
    if not numbers.size:
        return prompts
    own = numbers[rows % len(numbers)]
    return np.where(own < 0, prompts, own)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConceptError(
            f"{path} cannot be read as text ({error}): save it as UTF-8, or remove it"
        ) from error


def _read_metadata(path: Path) -> dict[str, str]:
    """File name -> caption of ``metadata.jsonl``; nothing where there is no such file."""
    if not path.is_file():
        return {}
    captions = {}
    for number, line in enumerate(_read(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name, text = entry["file_name"], entry.get("text") or ""
            if not (isinstance(name, str) and isinstance(text, str)):
                raise TypeError("file_name and text must be texts")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConceptError(
                f"{path} line {number} is not a caption ({error}): "
                'write {"file_name": "a.jpg", "text": "a photo of a {}"}, or remove it'
            ) from error
        captions[name] = text
    return captions
