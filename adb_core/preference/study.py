"""A preference study is a folder: what is asked, the pictures, and, apart from both, the key.

    study.json       the pairs, without a word on which recipe drew which picture
    key.json         which did; it is read only after the last vote
    pictures/        named by the SHA-256 of their bytes, so that a name says nothing
    photos/          the concepts' own photos, as raters see them
    votes.sqlite     every vote (:mod:`adb_core.preference.votes`)

All paths in it are relative: a study may be moved or copied as a whole. Whoever looks into
key.json is no longer blind; its digest in study.json shows if it was changed afterwards.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from ..system.commands import InputError
from ..system.fingerprints import fingerprint, json_fingerprint

FORMAT = 1
STUDY, KEY, PICTURES, PHOTOS = "study.json", "key.json", "pictures", "photos"

# The two questions of the field, and the one that sums up; asked in this order.
QUESTIONS = {
    "subject": "Which picture looks more like the subject in the photos?",
    "text": "Which picture follows the text better?",
    "overall": "Which picture do you prefer overall?",
}
LEFT, RIGHT, SAME = "left", "right", "same"
ANSWERS = (LEFT, RIGHT, SAME)


class StudyError(InputError):
    """A study that cannot be used or made; one line that names it and the cure."""


@dataclass(frozen=True)
class Pair:
    """Two recipes' pictures for the same concept, prompt and seed.

    Attributes:
        text: the prompt as raters read it, with the category in the place of the new word.
        a, b: file names in ``pictures/``; which is which recipe's stands in the key alone.
    """

    id: str
    concept: str
    prompt: str
    text: str
    seed: int
    a: str
    b: str


@dataclass(frozen=True)
class Design:
    """How votes are asked for.

    Attributes:
        raters: how many are expected; after the last vote of the last one the key is revealed.
        repeats: pairs that each rater sees a second time, sides swapped: self-consistency.
        catches: trials that show one picture twice, where "no difference" is the attentive answer.
        seed: of every order and side; each rater has an own order.
    """

    raters: int
    repeats: int = 2
    catches: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("raters", 1), ("repeats", 0), ("catches", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise StudyError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Study:
    """A study that has been read.

    Attributes:
        pairs: in the order of their ids; photos: concept -> file names below ``photos/``.
        key_digest: SHA-256 of key.json as it was written.
    """

    folder: Path
    design: Design
    pairs: tuple[Pair, ...]
    photos: dict[str, tuple[str, ...]]
    key_digest: str

    @cached_property
    def id(self) -> str:
        """A digest of all that raters are asked, 64 hexadecimal digits."""
        return json_fingerprint(self.public())

    def public(self) -> dict:
        """What study.json says, its own id apart."""
        return {
            "format": FORMAT,
            "design": asdict(self.design),
            "pairs": [asdict(pair) for pair in self.pairs],
            "photos": {name: list(files) for name, files in self.photos.items()},
            "key": self.key_digest,
        }

    def pair(self, id: str) -> Pair:
        """Raises:
        StudyError: there is no such pair.
        """
        if id not in self._by_id:
            raise StudyError(f"there is no pair {id!r} in {self.folder}: reload the page")
        return self._by_id[id]

    @cached_property
    def _by_id(self) -> dict[str, Pair]:
        return {pair.id: pair for pair in self.pairs}


def load_study(folder: str | Path) -> Study:
    """Read a study and check that it is whole.

    Raises:
        StudyError: no study, one of another version, or one that is damaged or half-copied.
    """
    folder = Path(folder)
    path = folder / STUDY
    if not path.is_file():
        raise StudyError(f"{folder} is not a study (it has no {STUDY}): make one by adb study new")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        version = said["format"]
        if version == FORMAT:
            pairs = tuple(Pair(**pair) for pair in said["pairs"])
            photos = {name: tuple(files) for name, files in said["photos"].items()}
            study = Study(folder, Design(**said["design"]), pairs, photos, said["key"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{path} is damaged ({error}): copy the study again") from error
    if version != FORMAT:
        raise StudyError(
            f"{path} is of version {version}, and this program reads version {FORMAT}: "
            "use the program that made it"
        )
    if study.id != said.get("id") or not pairs:
        raise StudyError(f"{path} is damaged (it was changed by hand): copy the study again")
    _check_files(study)
    return study


def _check_files(study: Study) -> None:
    """Every picture is there and is the one that was asked about; every photo is there."""
    for name in sorted({file for pair in study.pairs for file in (pair.a, pair.b)}):
        path = study.folder / PICTURES / name
        if not path.is_file():
            raise StudyError(f"{path} is missing: the study is half-copied, copy it again")
        if fingerprint([path.read_bytes()]) != path.stem:
            raise StudyError(f"{path} is not the picture it was: copy the study again")
    photos = study.folder / PHOTOS
    for name in (file for files in study.photos.values() for file in files):
        inside = (photos / name).resolve().is_relative_to(photos.resolve())
        if not (inside and (photos / name).is_file()):
            raise StudyError(f"{photos / name} is missing: the study is half-copied, copy it again")


def read_key(study: Study) -> dict[str, tuple[str, str]]:
    """Pair id -> the recipes of its pictures a and b; :func:`reveal` asks first whether it may.

    Raises:
        StudyError: the key is missing, or not the one that the study was made with.
    """
    path = study.folder / KEY
    if not path.is_file():
        raise StudyError(f"{path} is missing: without it no vote can be told to a recipe")
    data = path.read_bytes()
    if fingerprint([data]) != study.key_digest:
        raise StudyError(f"{path} is not the key that the study was made with: copy it again")
    return {id: (entry["a"], entry["b"]) for id, entry in json.loads(data).items()}
