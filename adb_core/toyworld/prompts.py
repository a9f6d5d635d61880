"""The bundled prompt sets: ``{}`` stands for the concept ("[V] cat"), ``asks`` for what a judge can score.

``python -m adb_core.toyworld.prompts`` writes ``data/prompts`` again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..system.files import atomic_write_json
from .grammar import ACCESSORY_PHRASES, PLACE_PHRASES, RELATION_PHRASES, STYLE_PHRASES
from .scene import ACCESSORIES, OBJECTS, PLACES, RELATIONS, STYLES


def prompt(
    style: str = "photo",
    accessory: str | None = None,
    relation: str | None = None,
    object: str | None = None,
    place: str | None = None,
) -> dict:
    """One prompt with what it asks for: ``{"prompt": ..., "asks": {label: word}}``."""
    parts = [STYLE_PHRASES[style][0], "a {}"]
    asks = {"style": style}
    if accessory:
        parts.append(ACCESSORY_PHRASES[accessory][0])
        asks["accessory"] = accessory
    if relation:
        parts.append(RELATION_PHRASES[relation][0].format(object))
        asks |= {"relation": relation, "object": object}
    if place:
        parts.append(PLACE_PHRASES[place][0])
        asks["place"] = place
    return {"prompt": " ".join(parts), "asks": asks}


def prompt_sets() -> dict[str, list[dict]]:
    """Three sets, from one attribute to four; every word of the world is asked for in the larger two."""
    simple = [
        prompt(),
        *(prompt(place=p) for p in PLACES[:4]),
        *(prompt(accessory=a) for a in ACCESSORIES[:3]),
        prompt(style="sketch"),
        prompt(relation="next to", object="ball"),
    ]
    compositional = []
    for k in range(16):
        place, style = PLACES[k % 8], STYLES[(k // 4) % 4]
        if k % 2 == 0:
            compositional.append(prompt(style, ACCESSORIES[(k // 2) % 6], place=place))
        else:
            compositional.append(
                prompt(
                    style, relation=RELATIONS[k % 3], object=OBJECTS[(k + k // 6) % 6], place=place
                )
            )
    complex_ = [
        prompt(
            STYLES[k % 4],
            ACCESSORIES[(k * 5 + k // 6) % 6],
            RELATIONS[(k + k // 4) % 3],
            OBJECTS[(k + k // 8) % 6],
            PLACES[(k * 3) % 8],
        )
        for k in range(16)
    ]
    return {"simple": simple, "compositional": compositional, "complex": complex_}


def write_prompts(folder: Path) -> None:
    for name, entries in prompt_sets().items():
        atomic_write_json(
            folder / f"{name}.json", {"name": name, "license": "Apache-2.0", "prompts": entries}
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m adb_core.toyworld.prompts", description=__doc__
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="the data folder (default: data)"
    )
    folder = parser.parse_args().data / "prompts"
    write_prompts(folder)
    print(f"wrote {', '.join(f'{n} ({len(e)})' for n, e in prompt_sets().items())} to {folder}")


if __name__ == "__main__":
    main()
