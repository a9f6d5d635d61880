"""SHA-256 fingerprints: one way to say that two things are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable


def fingerprint(parts: Iterable[bytes | str], separator: bytes = b"") -> str:
    """SHA-256 of all parts (texts as UTF-8), 64 hexadecimal digits.

    With a separator, ("ab", "c") and ("a", "bc") differ; without, they are the same stream.
    """
    digest = hashlib.sha256()
    for number, part in enumerate(parts):
        if number and separator:
            digest.update(separator)
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def json_fingerprint(value) -> str:
    """The same of anything that JSON can say; the order of a dict's keys does not matter."""
    return fingerprint([json.dumps(value, sort_keys=True)])
