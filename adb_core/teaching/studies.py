"""Preference studies in a notebook: one's own, which is kept, and a rehearsal of known truth."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..concept import Concept, bundled_concepts
from ..preference.analysis import Key, reveal
from ..preference.making import Picture, new_study, possible_pairs
from ..preference.panel import Panel, recipe_taste, simulate
from ..preference.study import STUDY, Design, Study, StudyError, load_study
from ..preference.votes import Vote, Votes
from ..system.files import atomic_write_json
from ..system.fingerprints import fingerprint
from ..widgets.preference import PreferencePanel
from .kept import workspace

SEPARATOR = b"\0"


def kept_study(
    name: str, pictures: Sequence[Picture], concepts: Mapping[str, Concept], design: Design
) -> Study:
    """The study of all pairs of these pictures, in :func:`adb_core.teaching.workspace`.

    A second call with the same pictures and design opens the same study, with its votes.

    Raises:
        StudyError: as :func:`adb_core.preference.making.possible_pairs` and ``new_study``.
    """
    pairs = possible_pairs(pictures)
    parts: list[bytes | str] = [repr(design)]
    for picture in pictures:
        parts += [picture.recipe, *map(str, picture.asked), picture.pixels.tobytes()]
    folder = workspace() / f"study-{name}-{fingerprint(parts, SEPARATOR)[:10]}"
    if (folder / STUDY).is_file():
        return load_study(folder)
    return new_study(folder, pairs, concepts, design)


def ballot(study: Study, votes: Votes, name: str = "you") -> PreferencePanel:
    """The panel in which a reader votes; a second call goes on after the last stored answer.

    The rater's code is kept beside the study, since a notebook forgets its variables.

    Raises:
        StudyError: the name is taken by somebody whose code is not kept here, or the study has its
            raters.
    """
    path = study.folder.with_name(f"{study.folder.name}.codes.json")
    codes = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    panel = PreferencePanel(study, votes, name, codes.get(name, ""))
    if codes.get(name) != panel.code:
        atomic_write_json(path, {**codes, name: panel.code})
    return panel


@dataclass(frozen=True)
class Rehearsal:
    """A study in which a program has voted, with a taste that it was given. Nobody was asked.

    Attributes:
        truth: recipe -> its strength in logits; votes: all of them marked as simulated.
    """

    study: Study
    key: Key
    votes: tuple[Vote, ...]
    truth: Mapping[str, float]


def rehearsal(
    strengths: Mapping[str, float], panel: Panel, concept_spread: float = 0.0, repeats: int = 4
) -> Rehearsal:
    """A simulated panel votes on every pair of these recipes for each of the bundled concepts.

    The panel knows the recipes' strengths and looks at nothing, so photos of the concepts stand in
    for the recipes' pictures. The study's folder is gone afterwards.

    Args:
        strengths: made-up recipes, two to five -> strength in logits.
        concept_spread: standard deviation of what a concept adds to a recipe's strength.
        repeats: pairs that each rater sees twice; as many trials show one picture twice.

    Raises:
        StudyError: another number of recipes.
    """
    if not 2 <= len(strengths) <= 5:
        raise StudyError(f"a rehearsal needs 2 to 5 recipes, got {len(strengths)}")
    names = [name for half in bundled_concepts().values() for name in half]
    concepts = {name: Concept.bundled(name) for name in names}
    pictures = [
        Picture(recipe, name, "a photo of a {}", 0, concepts[name].images[k])
        for name in names
        for k, recipe in enumerate(strengths)
    ]
    with tempfile.TemporaryDirectory() as folder:
        design = Design(panel.raters, repeats, repeats, panel.seed)
        study = new_study(Path(folder) / "study", possible_pairs(pictures), concepts, design)
        taste = recipe_taste(study, strengths, concept_spread, panel.seed)
        with Votes(study) as votes:
            simulate(study, votes, taste, panel)
            cast = tuple(votes.all())
            return Rehearsal(study, reveal(study, votes), cast, dict(strengths))
