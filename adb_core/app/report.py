"""One self-contained HTML page from texts, tables and pictures: no scripts, no files beside it, no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..system.files import atomic_write_text

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c1c1c; --page: #fdfdfb; --line: #c8c8c8; --note: #555555; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #ececec; --page: #17181a; --line: #4a4a4a; --note: #b5b5b5; }} }}
body {{ color: var(--ink); background: var(--page); font: 1rem/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }} h2 {{ margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }}
figure {{ margin: 1rem 0; }} figcaption {{ color: var(--note); font-size: .92rem; }}
img {{ max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }} caption {{ text-align: left; color: var(--note); font-size: .92rem; padding-bottom: .3rem; }}
th, td {{ border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }}
code {{ overflow-wrap: anywhere; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Picture:
    """A picture of the page: PNG bytes, its description for those who cannot see it, and its caption."""

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


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure><img alt="{html.escape(picture.alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.head)
    rows = []
    for first, *rest in table.rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        rows.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{html.escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.heading)}</h2>"] if section.heading else []
    parts += [f"<p>{html.escape(text)}</p>" for text in section.paragraphs]
    parts += [_table(t) for t in section.tables] + [_picture(p) for p in section.pictures]
    return "\n".join(["<section>", *parts, "</section>"])


def build_report(title: str, sections: Sequence[Section]) -> str:
    """The page as one string; every text is escaped, every picture is inside.

    Raises:
        ValueError: no sections, or a picture without description.
    """
    if not sections:
        raise ValueError("a report needs at least one section")
    if any(not p.alt.strip() for s in sections for p in s.pictures):
        raise ValueError("every picture of a report needs a description")
    return PAGE.format(title=html.escape(title), body="\n".join(map(_section, sections)))


def write_report(path: str | Path, title: str, sections: Sequence[Section]) -> Path:
    """Write :func:`build_report`'s page, whole or not at all.

    Raises:
        DiskFull: no space left; an earlier page is untouched.
    """
    atomic_write_text(path, build_report(title, sections))
    return Path(path)
