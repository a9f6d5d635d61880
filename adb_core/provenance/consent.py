"""What ``concept.json`` says of a concept's pictures: who is shown, who gave them, who agreed.

Four texts, each of which may be missing:

    {"shows": "my cat Pico; no person", "given_by": "taken by me in 2026",
     "license": "CC BY 4.0", "consent": "not needed: no person is shown"}

Nothing can check that they are true. They are asked for, shown before a training, and go into the
model card, so that whoever gets the model can ask further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..images import ConceptError

LONGEST = 500  # characters of a statement: it is a line of a card, not a contract
ASKS = {
    "shows": "who or what is shown",
    "given_by": "who took or gave the pictures",
    "license": "under which licence",
    "consent": "whether the people shown have agreed",
}
UNSTATED = "not stated"


@dataclass(frozen=True)
class Statements:
    """The four statements, None where there is none; ``ASKS`` says what each answers."""

    shows: str | None = None
    given_by: str | None = None
    license: str | None = None
    consent: str | None = None

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Statements:
        """Those in a ``concept.json``; "licence" is read as well."""
        said = {"license": info.get("licence"), **info}
        return cls(**{field.name: said.get(field.name) for field in fields(cls)})

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of those that were not made."""
        return tuple(name for name in ASKS if getattr(self, name) is None)

    def line(self) -> str | None:
        """What is missing, in one line with the cure; None if nothing is."""
        if not self.missing:
            return None
        asked = ", ".join(f'"{name}" ({ASKS[name]})' for name in self.missing)
        return f"not stated in concept.json: {asked}; the model card will say so"

    def shown(self, name: str) -> str:
        """One of them as a card shows it, on one line."""
        said = getattr(self, name)
        return UNSTATED if said is None else " ".join(said.split()).replace("|", "\\|")


def check_statements(info: Mapping[str, Any], where: object) -> None:
    """Find statements that are none.

    Args:
        where: the file, for the message.

    Raises:
        ConceptError: one that is no text, empty, or too long.
    """
    for name in (*ASKS, "licence"):
        said = info.get(name)
        if said is None:
            continue
        if not isinstance(said, str) or not said.strip() or len(said) > LONGEST:
            is_long = isinstance(said, str) and len(said) > LONGEST
            got = f"{len(said)} characters" if is_long else repr(said)
            raise ConceptError(
                f"{where}: {name!r} must be a text of at most {LONGEST} characters, got {got}: "
                "correct it or leave it out"
            )
