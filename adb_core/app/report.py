"""One HTML page of texts, tables and pictures: no scripts, no files beside it, no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..system.files import atomic_write_text

TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True)
class Picture:
    """A picture of the page: PNG bytes, its description for who cannot see it, its caption."""

    png: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of the page: a caption, the head, and rows of texts as long as the head."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, then tables, then pictures. Without heading it opens the page."""

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = field(default=())
    pictures: Sequence[Picture] = field(default=())


def build_report(title: str, sections: Sequence[Section]) -> str:
    """The page as one string; every text is escaped, every picture is inside.

    Raises:
        ValueError: no sections, or a picture without description.
    """
    from jinja2 import Environment, StrictUndefined

    if not sections:
        raise ValueError("a report needs at least one section")
    if any(not p.alt.strip() for s in sections for p in s.pictures):
        raise ValueError("every picture of a report needs a description")
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections) + "\n"


def write_report(path: str | Path, title: str, sections: Sequence[Section]) -> Path:
    """Write :func:`build_report`'s page, whole or not at all.

    Raises:
        DiskFull: no space left; an earlier page is untouched.
    """
    atomic_write_text(path, build_report(title, sections))
    return Path(path)
