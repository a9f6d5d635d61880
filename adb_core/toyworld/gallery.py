"""Contact sheets of the world: ``python -m adb_core.toyworld.gallery --out out/gallery``."""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np

from .concepts import PORTRAITS, photos
from .grammar import caption
from .pen import ELEMENTS
from .render import Rendered, render
from .scene import (
    ACCESSORIES,
    CATEGORIES,
    COLORS,
    PLACES,
    STYLES,
    Pose,
    Scene,
    sample_instance,
    sample_scene,
)

# Okabe-Ito colors: told apart with every common kind of color blindness.
MASK_COLORS = {
    "background": (238, 238, 238),
    "subject": (213, 94, 0),
    "accessory": (0, 158, 115),
    "object": (0, 114, 178),
}


def mask_picture(drawn: Rendered) -> np.ndarray:
    """The masks as one uint8 (64, 64, 3) picture in the colors of :data:`MASK_COLORS`."""
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
    for ax, (image, text) in zip(axes.flat, cells):
        ax.imshow(image, interpolation="nearest")
        ax.set_title("\n".join(textwrap.wrap(text, 25)), fontsize=6.5, pad=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def write_gallery(folder: Path, seed: int = 0) -> list[Path]:
    """Write three sheets: what there is, random captioned scenes with masks, and the concepts."""
    rng = np.random.default_rng(seed)
    words = []
    for k, category in enumerate(CATEGORIES):
        color = list(COLORS)[k % len(COLORS)]
        scene = Scene(
            category, sample_instance(rng, color), color, pose=Pose(), place=PLACES[k % 8]
        )
        words.append((render(scene, k).image, category))
    base = Scene("cat", sample_instance(rng, "orange"), "orange", pose=Pose())
    words += [(render(replace(base, accessory=a), 1).image, a) for a in ACCESSORIES]
    words += [(render(replace(base, place=p, accessory="hat"), 2).image, p) for p in PLACES]
    words += [(render(replace(base, style=s, place="beach"), 3).image, s) for s in STYLES]
    scenes = [sample_scene(rng) for _ in range(24)]
    drawn = [render(s, k) for k, s in enumerate(scenes)]
    random = []
    for start in range(0, 24, 8):
        random += [
            (d.image, caption(s, start + k))
            for k, (s, d) in enumerate(zip(scenes[start : start + 8], drawn[start : start + 8]))
        ]
        random += [(mask_picture(d), "") for d in drawn[start : start + 8]]
    people = [
        (render(*photo).image, p.name if k == 0 else photo[0].place or "plain")
        for p in PORTRAITS
        for k, photo in enumerate(photos(p))
    ]
    sheets = (
        (8, words, "words.png", "The words of the world"),
        (
            8,
            random,
            "scenes.png",
            "Scenes, captions and masks (orange subject, green accessory, blue object)",
        ),
        (10, people, "concepts.png", "The bundled concepts, five photos each"),
    )
    paths = []
    for columns, cells, name, title in sheets:
        _sheet(columns, cells, folder / name, title)
        paths.append(folder / name)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m adb_core.toyworld.gallery", description=__doc__
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/gallery"), help="folder for the sheets"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for path in write_gallery(args.out, args.seed):
        print(path)


if __name__ == "__main__":
    main()
