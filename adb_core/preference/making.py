"""From pictures to a study: read them, draw pairs, hide which recipe drew which.

A folder of pictures says in ``manifest.json`` what they are:

    {"recipe": "attndreambooth", "pictures": [
        {"file": "0.png", "concept": "pico", "prompt": "a photo of a {} in the snow", "seed": 0}]}
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..concept import Concept
from ..images import ConceptError, read_image
from ..pictures import png
from ..provenance.record import BLIND, Provenance, save_generated, stamped
from ..system.files import atomic_save_pretrained, atomic_write_json
from ..system.fingerprints import fingerprint
from .study import KEY, PHOTOS, PICTURES, STUDY, Design, Pair, Study, StudyError, load_study
from .trials import generator

MANIFEST = "manifest.json"
PHOTO_SIDE = 512  # pixels that a rater's screen shows of a photo, at most


@dataclass(frozen=True)
class Picture:
    """One picture with all that tells it apart: uint8 (h, w, 3) RGB."""

    recipe: str
    concept: str
    prompt: str
    seed: int
    pixels: np.ndarray

    @property
    def asked(self) -> tuple[str, str, int]:
        """What two recipes must have in common to be compared."""
        return self.concept, self.prompt, self.seed


def read_pictures(folder: str | Path) -> list[Picture]:
    """The pictures of a folder with a manifest.

    Raises:
        StudyError: no manifest, one that is damaged, or a picture that cannot be read.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise StudyError(
            f"{folder} has no {MANIFEST}: name each picture's file, concept, prompt and seed there"
        )
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        recipe, entries = str(said["recipe"]), said["pictures"]
        listed = [(str(e["file"]), str(e["concept"]), str(e["prompt"]), int(e["seed"]))
                  for e in entries]  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} is damaged ({error}): it needs recipe, and pictures with file, concept, "
            "prompt and seed"
        ) from error
    pictures = []
    for file, concept, prompt, seed in listed:
        try:
            pixels = read_image(Path(folder) / file)
        except FileNotFoundError as error:
            raise StudyError(f"{Path(folder) / file} is missing: {path} names it") from error
        except ConceptError as error:
            raise StudyError(str(error)) from error
        pictures.append(Picture(recipe, concept, prompt, seed, pixels))
    return pictures


def write_pictures(pictures: Sequence[Picture], folder: str | Path) -> None:
    """Write the pictures of one recipe as :func:`read_pictures` reads them.

    Each file says how its picture was made; a study's own files say no more than "AI generated".
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, picture in enumerate(pictures):
        concept, prompt, seed = picture.asked
        about = Provenance((prompt,), (seed,), recipe=picture.recipe)
        save_generated(folder / f"{number:04d}.png", picture.pixels, about)
        entries.append(
            {"file": f"{number:04d}.png", "concept": concept, "prompt": prompt, "seed": seed}
        )
    recipes = {picture.recipe for picture in pictures}
    if len(recipes) != 1:
        raise StudyError(f"a folder holds one recipe's pictures, got {sorted(recipes)}")
    atomic_write_json(folder / MANIFEST, {"recipe": recipes.pop(), "pictures": entries})


# ---------------------------------------------------------------- pairs


def possible_pairs(pictures: Sequence[Picture]) -> list[tuple[Picture, Picture]]:
    """Every two pictures of different recipes for the same concept, prompt and seed.

    Two that are equal in every pixel are left out: there is nothing to prefer.

    Raises:
        StudyError: one recipe only, one picture given twice, or nothing in common.
    """
    groups: dict[tuple, dict[str, Picture]] = {}
    for picture in pictures:
        group = groups.setdefault(picture.asked, {})
        if picture.recipe in group:
            raise StudyError(
                f"recipe {picture.recipe!r} comes twice with concept {picture.concept!r}, prompt "
                f"{picture.prompt!r}, seed {picture.seed}: give each picture once"
            )
        group[picture.recipe] = picture
    recipes = sorted({picture.recipe for picture in pictures})
    if len(recipes) < 2:
        raise StudyError(
            f"a study compares two recipes or more, got {', '.join(recipes) or 'none'}: "
            "give another folder or model"
        )
    pairs = [
        (group[one], group[other])
        for group in groups.values()
        for one, other in itertools.combinations(sorted(group), 2)
        if not np.array_equal(group[one].pixels, group[other].pixels)
    ]
    if not pairs:
        raise StudyError(
            f"{', '.join(recipes)} have no concept, prompt and seed in common for which their "
            "pictures differ: draw them with the same prompts and seeds"
        )
    return pairs


def draw_pairs(
    pairs: Sequence[tuple[Picture, Picture]], count: int | None, seed: int
) -> list[tuple[Picture, Picture]]:
    """``count`` of the pairs, or all, as evenly over recipes and concepts as can be.

    Raises:
        StudyError: more than there are.
    """
    if count is None:
        return list(pairs)
    if not 1 <= count <= len(pairs):
        raise StudyError(f"{count} pairs asked for, and there are {len(pairs)}: ask for fewer")
    rng = generator("pairs", seed)
    strata: dict[tuple, list] = {}
    for k in rng.permutation(len(pairs)):
        one, other = pairs[k]
        strata.setdefault((one.recipe, other.recipe, one.concept), []).append(pairs[k])
    queues = [strata[name] for name in sorted(strata)]
    # one of each stratum in turn; within a turn in random order, so that the last turn is fair
    turns = itertools.zip_longest(*queues)
    mixed = [pair for turn in turns for pair in (turn[k] for k in rng.permutation(len(turn)))]
    return [pair for pair in mixed if pair is not None][:count]


# ---------------------------------------------------------------- writing


def check_free(folder: str | Path) -> None:
    """Raises:
    StudyError: something is there already; a study may hold votes, and is never replaced.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} is in the way, and may hold votes: name another folder")


def new_study(
    folder: str | Path,
    pairs: Sequence[tuple[Picture, Picture]],
    concepts: Mapping[str, Concept],
    design: Design,
) -> Study:
    """Write a study; it appears whole or not at all.

    Args:
        concepts: name as in the pictures -> whose photos and category are shown.

    Raises:
        StudyError: the folder is in the way, or a concept is missing.
        DiskFull: no space left.
    """
    folder = Path(folder)
    check_free(folder)
    used = sorted({one.concept for one, _ in pairs})
    if missing := [name for name in used if name not in concepts]:
        raise StudyError(
            f"no photos of concept {missing[0]!r}: name its folder, "
            f"as --concept photos/{missing[0]}"
        )
    atomic_save_pretrained(
        lambda target: _write(target, pairs, {name: concepts[name] for name in used}, design),
        folder,
        staging=folder.resolve().parent,
    )
    return load_study(folder)


def _write(
    target: Path,
    pairs: Sequence[tuple[Picture, Picture]],
    concepts: Mapping[str, Concept],
    design: Design,
) -> None:
    rng = generator("which is a", design.seed)
    (target / PICTURES).mkdir()
    asked, key = [], {}
    for number, pair in enumerate(pairs):
        a, b = pair if rng.integers(2) else pair[::-1]
        files = [_save(target / PICTURES, picture.pixels) for picture in (a, b)]
        text = a.prompt.replace("{}", concepts[a.concept].category)
        asked.append(Pair(f"p{number:04d}", a.concept, a.prompt, text, a.seed, *files))
        key[asked[-1].id] = {"a": a.recipe, "b": b.recipe}
    photos = {}
    for place, (name, concept) in enumerate(concepts.items()):
        (target / PHOTOS / str(place)).mkdir(parents=True)  # a name may not be fit for a folder
        photos[name] = tuple(f"{place}/{k}.png" for k in range(len(concept.images)))
        for file, image in zip(photos[name], concept.images, strict=True):
            small = Image.fromarray(image)
            small.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
            (target / PHOTOS / file).write_bytes(png(small))
    atomic_write_json(target / KEY, key)
    digest = fingerprint([(target / KEY).read_bytes()])
    study = Study(target, design, tuple(asked), photos, digest)
    atomic_write_json(target / STUDY, {"id": study.id, **study.public()})


def _save(folder: Path, pixels: np.ndarray) -> str:
    """Write pixels and that a machine drew them, which is so on both sides; named by its digest.

    Whatever else their file said of its origin stays behind: it would open the key.
    """
    data = stamped(png(pixels), BLIND)
    name = f"{fingerprint([data])}.png"
    (folder / name).write_bytes(data)
    return name
