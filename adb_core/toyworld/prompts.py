"""The bundled prompt sets: ``{}`` is the concept ("[V] cat"), ``asks`` what a judge can score.

Six sets of growing complexity, named by how many things they ask for beyond the subject:
place, accessory, relation and object (two things, for the judge scores both), sky. All are
photos. A seventh set asks for styles. ``python -m adb_core.toyworld.prompts`` writes
``data/prompts`` again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..system.commands import run_command
from ..system.files import atomic_write_json
from .grammar import (
    ACCESSORY_PHRASES,
    FILLERS,
    PLACE_PHRASES,
    RELATION_PHRASES,
    SKY_PHRASES,
    STYLE_PHRASES,
)
from .scene import ACCESSORIES, OBJECTS, PLACES, RELATIONS, SKIES, STYLES

COUNT = 12  # prompts of a set
# What the prompts of each complexity ask for; they take turns.
KINDS: tuple[tuple[tuple[str, ...], ...], ...] = (
    ((),),
    (("place",), ("accessory",), ("sky",)),
    (("relation",), ("accessory", "place"), ("place", "sky")),
    (("relation", "place"), ("accessory", "relation"), ("accessory", "place", "sky")),
    (("accessory", "relation", "place"), ("relation", "place", "sky")),
    (("accessory", "relation", "place", "sky"),),
)


def prompt(style: str = "photo", filler: str = "", phrase: int = 0, **things: str) -> dict:
    """One prompt with what it asks for: ``{"prompt": ..., "asks": {label: word}}``.

    Args:
        things: any of accessory, relation with object, place, sky.
        phrase: which of the style's phrases.
    """
    subject = "a {}" if not filler else f"a {filler} {{}}"
    parts = [STYLE_PHRASES[style][phrase], subject]
    if "accessory" in things:
        parts.append(ACCESSORY_PHRASES[things["accessory"]][0])
    if "relation" in things:
        parts.append(RELATION_PHRASES[things["relation"]][0].format(things["object"]))
    if "place" in things:
        parts.append(PLACE_PHRASES[things["place"]][0])
    if "sky" in things:
        parts.append(SKY_PHRASES[things["sky"]][0])
    return {"prompt": " ".join(parts), "asks": {"style": style, **things}}


def _things(kind: tuple[str, ...], k: int) -> dict[str, str]:
    """The ``k``-th choice of words for a kind."""
    words = {
        "accessory": ACCESSORIES[(5 * k + k // 6) % len(ACCESSORIES)],
        "relation": RELATIONS[(k + k // 4) % len(RELATIONS)],
        "object": OBJECTS[(k + k // 3) % len(OBJECTS)],
        "place": PLACES[(3 * k + k // 8) % len(PLACES)],
        "sky": SKIES[(k + k // 4) % len(SKIES)],
    }
    wanted = [*kind, "object"] if "relation" in kind else kind
    return {name: words[name] for name in words if name in wanted}


def complexity(number: int) -> list[dict]:
    """The prompts that ask for ``number`` things beyond the subject (0 to 5)."""
    if number == 0:  # nothing but ways to say the subject
        return [prompt(filler=f, phrase=p) for p in (0, 1) for f in ("", *FILLERS)]
    kinds = KINDS[number]
    turns = (divmod(k, len(kinds)) for k in range(COUNT))
    return [prompt(**_things(kinds[which], turn + number - 1)) for turn, which in turns]


def styles() -> list[dict]:
    """Twelve prompts in the three styles that are no photo."""
    drawn = [style for style in STYLES if style != "photo"]
    kinds = KINDS[1][:2]
    return [prompt(drawn[k % 3], **_things(kinds[k % 2], k)) for k in range(COUNT)]


def prompt_sets() -> dict[str, list[dict]]:
    """Every bundled set by its name."""
    return {f"complexity_{n}": complexity(n) for n in range(6)} | {"styles": styles()}


def write_prompts(folder: Path) -> None:
    """Write every bundled set, a JSON file each."""
    for name, entries in prompt_sets().items():
        data = {"name": name, "license": "Apache-2.0", "prompts": entries}
        atomic_write_json(folder / f"{name}.json", data)


def main(
    data: Annotated[Path, typer.Option(file_okay=False, help="The data folder.")] = Path("data"),
) -> None:
    """Write the bundled prompt sets again."""
    folder = data / "prompts"
    write_prompts(folder)
    sets = ", ".join(f"{name} ({len(entries)})" for name, entries in prompt_sets().items())
    typer.echo(f"wrote {sets} to {folder}")


if __name__ == "__main__":
    run_command(main, "prompts")
