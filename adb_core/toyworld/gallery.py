"""Contact sheets of the world: ``python -m adb_core.toyworld.gallery --out out/gallery``."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..system.commands import run_command
from .concepts import photos
from .grammar import caption
from .pen import ELEMENTS
from .portraits import PORTRAITS
from .render import Rendered, render
from .sampling import sample_instance, sample_scene
from .scene import (
    ACCESSORIES,
    BUILDS,
    CATEGORIES,
    COLORS,
    MARKS,
    PATTERNS,
    PLACES,
    SKIES,
    STYLES,
    Instance,
    Pose,
    Scene,
)

# Okabe-Ito colors: told apart with every common kind of color blindness.
MASK_COLORS = {
    "background": (238, 238, 238),
    "subject": (213, 94, 0),
    "accessory": (0, 158, 115),
    "object": (0, 114, 178),
}


def mask_picture(drawn: Rendered) -> np.ndarray:
    """The masks as one uint8 (size, size, 3) picture in the colors of :data:`MASK_COLORS`."""
    return sum(
        np.array(MASK_COLORS[e], np.uint8) * drawn.masks[e][..., None] for e in ELEMENTS
    ).astype(np.uint8)


def _sheet(columns: int, cells: list[tuple[np.ndarray, str]], path: Path, title: str) -> None:
    """Write labelled pictures as one PNG."""
    from matplotlib.figure import Figure

    rows = -(-len(cells) // columns)
    figure = Figure(
        figsize=(1.55 * columns, 1.95 * rows + 0.5),
        dpi=100,
        layout="constrained",
        facecolor="white",
    )
    figure.suptitle(title, fontsize=12)
    axes = np.atleast_2d(figure.subplots(rows, columns, squeeze=False))
    for ax in axes.flat:
        ax.axis("off")
    for ax, (image, text) in zip(axes.flat, cells, strict=False):
        ax.imshow(image, interpolation="nearest")
        ax.set_title("\n".join(textwrap.wrap(text, 25)), fontsize=6.5, pad=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _words(rng: np.random.Generator) -> list[tuple[np.ndarray, str]]:
    """One picture for each word of the world."""
    cells = []
    for k, category in enumerate(CATEGORIES):
        scene = Scene(category, sample_instance(rng), pose=Pose(), place=PLACES[k % 8])
        cells.append((render(scene, k).image, category))
    base = Scene("cat", Instance(COLORS["orange"], COLORS["cream"], layout=1))
    coat = partial(replace, base.instance)
    scenes = [(replace(base, instance=coat(pattern=p)), p) for p in PATTERNS]
    scenes += [(replace(base, instance=coat(mark=m)), m) for m in MARKS]
    for build, ((w0, w1), (h0, h1)) in BUILDS.items():
        sizes = {"width": (w0 + w1) / 2, "height": (h0 + h1) / 2}
        scenes.append((replace(base, instance=coat(**sizes)), build))
    scenes += [(replace(base, instance=coat(primary=rgb)), word) for word, rgb in COLORS.items()]
    scenes += [(replace(base, accessory=a), a) for a in ACCESSORIES]
    scenes += [(replace(base, place=p, accessory="hat"), p) for p in PLACES]
    scenes += [(replace(base, place="beach", sky=s), s) for s in SKIES]
    scenes += [(replace(base, place="beach", style=s), s) for s in STYLES]
    return cells + [(render(scene, 1).image, word) for scene, word in scenes]


def _random(rng: np.random.Generator) -> list[tuple[np.ndarray, str]]:
    """24 scenes with a caption each, and their masks below them."""
    scenes = [sample_scene(rng) for _ in range(24)]
    drawn = [render(s, k) for k, s in enumerate(scenes)]
    cells = []
    for start in range(0, 24, 8):
        row = range(start, start + 8)
        cells += [(drawn[k].image, caption(scenes[k], k)) for k in row]
        cells += [(mask_picture(drawn[k]), "") for k in row]
    return cells


def write_gallery(folder: Path, seed: int = 0) -> list[Path]:
    """Write three sheets: what there is, random captioned scenes with masks, and the concepts."""
    rng = np.random.default_rng(seed)
    people = [
        (render(*photo).image, p.name if k == 0 else photo[0].place or "plain")
        for p in PORTRAITS
        for k, photo in enumerate(photos(p))
    ]
    masks = "Scenes, captions and masks (orange subject, green accessory, blue object)"
    sheets = (
        (12, _words(rng), "words.png", "The words of the world"),
        (8, _random(rng), "scenes.png", masks),
        (10, people, "concepts.png", "The bundled concepts, five photos each"),
    )
    paths = []
    for columns, cells, name, title in sheets:
        _sheet(columns, cells, folder / name, title)
        paths.append(folder / name)
    return paths


def main(
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the sheets.")] = Path(
        "out/gallery"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes.")] = 0,
) -> None:
    """Draw contact sheets of the world."""
    for path in write_gallery(out, seed):
        typer.echo(path)


if __name__ == "__main__":
    run_command(main, "gallery")
