"""Pictures of an evaluation, to look at: what was generated, and where words look."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..pictures import save_png
from ..provenance.record import Provenance, save_generated
from ..toyworld.render import Rendered
from ..toyworld.scene import Scene, labels
from .measures.attributes import Generated
from .measures.pointing import pointing_words

TILE = 128  # pixels a picture is shown at
LINE = 11  # pixels of a line of text
WRONG, FOUND = "#b23a00", "#00618f"  # told apart by color-blind eyes too
_HEAT = np.array(
    [(12, 8, 40), (88, 24, 110), (190, 55, 85), (250, 140, 40), (252, 250, 180)], float
)


def heat(values: np.ndarray) -> Image.Image:
    """A map (16, 16) as a colored tile, dark for its minimum, bright for its maximum."""
    scaled = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    stops = np.linspace(0, 1, len(_HEAT))
    rgb = np.stack([np.interp(scaled, stops, _HEAT[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8)).resize((TILE, TILE), Image.Resampling.NEAREST)


def generated_sheet(
    path: Path, made: Generated, scenes: list[Scene], columns: int = 8, count: int = 32
) -> None:
    """The first generated images, each with its prompt and where the judge disagrees."""
    count = min(count, len(scenes))
    notes = [_notes(made, scenes[i], i) for i in range(count)]
    cell_w = TILE + 60
    cell_h = TILE + 10 + LINE * max(len(prompt) + len(verdict) for prompt, verdict, _ in notes)
    sheet = Image.new("RGB", (columns * cell_w, -(-count // columns) * cell_h), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (prompt, verdict, color) in enumerate(notes):
        x, y = i % columns * cell_w + 4, i // columns * cell_h + 4
        sheet.paste(_tile(made.images[i]), (x, y))
        for lines, ink in ((prompt, "black"), (verdict, color)):
            for line in lines:
                pen.text((x, y + TILE + 1), line, ink)
                y += LINE
    about = Provenance(
        tuple(made.prompts[:count]), base_model="tiny", recipe="base", composite=True
    )
    save_generated(path, sheet, about)


def _notes(made: Generated, scene: Scene, i: int) -> tuple[list[str], list[str], str]:
    """Lines of the prompt, lines of what the judge says of the picture, and their color."""
    wrong = [
        f"{name} {made.read[name][i]}"
        for name, word in labels(scene).items()
        if word not in (None, "none") and made.read[name][i] != word
    ]
    verdict = f"judge sees: {', '.join(wrong)}" if wrong else "judge: all found"
    color = WRONG if wrong else FOUND
    return textwrap.wrap(made.prompts[i], 31), textwrap.wrap(verdict, 31), color


def maps_sheet(
    path: Path, scenes: list[Scene], drawn: list[Rendered], maps: np.ndarray, count: int = 6
) -> None:
    """Renders that have everything, and the maps of four words, averaged over the timesteps.

    Args:
        maps: (n, times, k, 16, 16).
    """
    full = [i for i, s in enumerate(scenes) if s.accessory and s.object and s.place][:count]
    names = ("category", "accessory", "object", "place")
    sheet = Image.new("RGB", (5 * (TILE + 6), len(full) * (TILE + 20)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, i in enumerate(full):
        y = row * (TILE + 20)
        sheet.paste(_tile(drawn[i].image), (0, y + 14))
        pen.text((2, y + 1), f"{scenes[i].style}, {scenes[i].relation}", "black")
        tokens = pointing_words(scenes[i])
        for column, name in enumerate(names, start=1):
            x = column * (TILE + 6)
            sheet.paste(heat(maps[i, :, tokens[name][0]].mean(0)), (x, y + 14))
            pen.text((x + 2, y + 1), f"{name}: {getattr(scenes[i], name)}", "black")
    save_png(path, sheet)


def _tile(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).resize((TILE, TILE), Image.Resampling.BICUBIC)
