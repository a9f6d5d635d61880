"""The watermark of this project's own pictures: its payload ties the pixels to their metadata.

The payload is a digest of what the file says of its origin. Metadata that were put onto another
picture, or changed, no longer fit the pixels; and without metadata the mark is still there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from .record import Provenance
from .watermark import BITS, FOUND, PERIOD, Detection, detect, embed


@dataclass(frozen=True)
class Mark:
    """What a key finds in a picture of this project.

    Attributes:
        fits: whether the payload is that of the file's metadata; None where there are none, or no
            mark was found.
    """

    detection: Detection
    fits: bool | None

    @property
    def payload(self) -> str:
        """The bits as hexadecimal digits."""
        return f"{int(''.join(map(str, self.detection.bits)), 2):0{BITS // 4}x}"

    def public(self) -> dict[str, Any]:
        """For ``adb inspect --json``."""
        found = self.detection.is_found
        return {
            "found": found,
            "score": round(self.detection.score, 3),
            "p_value": self.detection.p_value,
            "payload": self.payload if found else None,
            "fits_metadata": self.fits,
        }

    def line(self) -> str:
        """For people."""
        chance = f"p = {self.detection.p_value:.1g}"
        if not self.detection.is_found:
            return f"watermark: not found with this key ({chance}; found is below {FOUND:g})"
        fit = {
            True: "and fits the metadata",
            False: "and does NOT fit the metadata: they are another picture's, or were changed",
            None: "and there are no metadata that it could be held against",
        }[self.fits]
        return f"watermark: found ({chance}), payload {self.payload} {fit}"


def payload_of(record: dict[str, Any]) -> tuple[int, ...]:
    """The 16 bits that stand for a record, as :meth:`Provenance.public` gives it."""
    said = json.dumps(record, sort_keys=True).encode()
    number = int.from_bytes(hashlib.sha256(said).digest()[: BITS // 8], "big")
    return tuple(int(bit) for bit in f"{number:0{BITS}b}")


def marked(images: np.ndarray, key: str, about: Provenance) -> np.ndarray:
    """Pictures uint8 (b, h, w, 3) with the mark in each.

    Sides that divide by 64 may be laid side by side afterwards: the mark goes on from one picture
    to the next.

    Raises:
        WatermarkError: too small, or a key that is none.
    """
    payload = payload_of(about.public())
    return np.stack([embed(image, key, payload) for image in images])


def is_seamless(shape: tuple[int, ...]) -> bool:
    """Whether the marks of pictures (h, w) fit together in a sheet."""
    return shape[0] % PERIOD == shape[1] % PERIOD == 0


def read_mark(pixels: np.ndarray, key: str, record: dict[str, Any] | None) -> Mark:
    """Look for the mark where it was put; if it is not there, wherever a piece may come from.

    Raises:
        WatermarkError: a key that is none, or a picture of less than 16 pixels a side.
    """
    found = detect(pixels, key)
    if not found.is_found:
        found = min(found, detect(pixels, key, search=True), key=lambda each: each.p_value)
    known = found.is_found and record is not None
    return Mark(found, found.bits == payload_of(record or {}) if known else None)
