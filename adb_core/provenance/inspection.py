"""What can be found out about the origin of a picture's file; ``adb inspect`` prints it.

Nothing found proves nothing: metadata are lost with the first program that does not keep them.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..images import MAX_PIXELS
from .credentials import (
    CredentialError,
    Credentials,
    has_credentials,
    is_there,
    read_credentials,
)
from .marking import Mark, read_mark
from .record import SIGNATURE, TEXT_KEY, XMP_KEY, chunks
from .watermark import check_key

NOTHING = (
    "no provenance found: metadata are lost when a picture is re-saved or sent through most "
    "platforms"
)
UNCHECKED = "content credentials: there are some; to check them: pip install c2pa-python"
CLAIM = "(metadata are a claim: anyone can write or remove them)"
LABELS = {
    "statement": "statement", "software": "software", "base_model": "base model",
    "revision": "revision", "recipe": "recipe", "prompts": "prompt", "seeds": "seed",
    "steps": "steps", "guidance": "guidance",
}  # fmt: skip


class InspectionError(ValueError):
    """A file that cannot be looked into; one line that names it and the cure."""


@dataclass(frozen=True)
class Inspection:
    """What a file says of itself.

    Attributes:
        kind: of the file, as "PNG"; size: width and height in pixels.
        record: what this project wrote, as :meth:`Provenance.public`, or None.
        source_type: the IPTC's address for how the picture was made, by whichever program, or None.
        credentials: signed metadata, checked; None where there are none, or the package that checks
            them is not installed: then ``is_signed`` alone says that they are there.
        mark: what a key found in the pixels; None where none was given.
    """

    path: Path
    kind: str
    size: tuple[int, int]
    record: dict[str, Any] | None
    source_type: str | None
    credentials: Credentials | None = None
    is_signed: bool = False
    mark: Mark | None = None

    @property
    def is_found(self) -> bool:
        return self.record is not None or self.source_type is not None or self.is_signed

    def public(self) -> dict[str, Any]:
        """For ``--json``: "found", and what was."""
        return {
            "file": self.path.name,
            "kind": self.kind,
            "size": list(self.size),
            "found": self.is_found,
            "provenance": self.record,
            "digital_source_type": self.source_type,
            "content_credentials": self.credentials and self.credentials.public(),
            "signed": self.is_signed,
            **({} if self.mark is None else {"watermark": self.mark.public()}),
        }

    def lines(self) -> list[str]:
        """For people."""
        width, height = self.size
        head = [f"{self.path}: {self.kind}, {width} x {height} pixels"]
        tail = [] if self.mark is None else [self.mark.line()]
        if self.credentials is not None:
            tail.insert(0, self.credentials.line())
        elif self.is_signed:
            tail.insert(0, UNCHECKED)
        if not self.is_found:
            return [*head, NOTHING, *tail]
        said = [
            f"  {label:<12} {_shown(self.record[name])}"
            for name, label in LABELS.items()
            if self.record and name in self.record
        ]
        source = [f"  {'source type':<12} {self.source_type}"] if self.source_type else []
        return [*head, *said, *source, f"  {CLAIM}", *tail]


def _shown(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def inspect_file(path: str | Path, key: str | None = None) -> Inspection:
    """Read what a picture's file says of its origin.

    PNG holds all of it; of other kinds of files the XMP packet is read, if Pillow finds one.

    Args:
        key: of a watermark to look for.

    Raises:
        WatermarkError: a key that is none, or a picture too small for a mark.
        InspectionError: no file, a folder, no picture, a damaged or a far too large one.
    """
    if key is not None:
        check_key(key)
    path = Path(path)
    if path.is_dir():
        raise InspectionError(f"{path} is a folder: name one picture in it")
    if not path.is_file():
        raise InspectionError(f"{path} is missing: name a picture's file")
    try:
        with _opened(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            kind, size = str(image.format), image.size
            pixels = np.asarray(image.convert("RGB"))  # decodes all of it, so that damage shows
            data = path.read_bytes()
            texts = _texts(data, dict(image.info))
    except Image.DecompressionBombError as error:
        raise InspectionError(f"{path} is far too large: scale it down") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InspectionError(
            f"{path} cannot be read as a picture ({reason}): copy it again, or name another file"
        ) from error
    record, signature = _record(texts), _credentials(path, data, f"image/{kind.lower()}")
    mark = None if key is None else read_mark(pixels, key, record)
    return Inspection(path, kind, size, record, _source_type(texts), *signature, mark)


def _credentials(path: Path, data: bytes, mime: str) -> tuple[Credentials | None, bool]:
    """The signed metadata, checked if they can be, and whether there are any."""
    is_signed = has_credentials(data)
    if not (is_signed and is_there()):
        return None, is_signed
    try:
        found = read_credentials(data, mime)
    except CredentialError as error:
        raise InspectionError(f"{path}: {error}") from error
    return found, found is not None


def _opened(path: Path) -> Image.Image:
    with warnings.catch_warnings():  # Pillow's of large pictures; ours is an error that says more
        warnings.filterwarnings("ignore", message="Image size")
        return Image.open(path)


def _texts(data: bytes, info: dict[str, Any]) -> dict[str, str]:
    """The texts of a file by their keywords; of a PNG as its chunks hold them."""
    if not data.startswith(SIGNATURE):
        packet = info.get("xmp", b"")
        text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
        return {XMP_KEY: text}
    texts = {}
    for kind, body, _ in chunks(data):
        key, _, rest = body.partition(b"\0")
        if kind == b"tEXt":
            texts[key.decode("latin-1")] = rest.decode("latin-1")
        elif kind == b"iTXt" and rest[:1] == b"\0":  # not compressed
            texts[key.decode("latin-1")] = rest[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
    return texts


def _record(texts: dict[str, str]) -> dict[str, Any] | None:
    """What this project wrote; None where it wrote nothing, or somebody has broken it."""
    try:
        record = json.loads(texts.get(TEXT_KEY, ""))
    except ValueError:
        return None
    return record if isinstance(record, dict) and "statement" in record else None


def _source_type(texts: dict[str, str]) -> str | None:
    """The packet's DigitalSourceType, written as an element or as an attribute."""
    found = re.search(r"Iptc4xmpExt:DigitalSourceType(?:>|=\")([^<\"]+)", texts.get(XMP_KEY, ""))
    return unescape(found.group(1)).strip() if found else None
