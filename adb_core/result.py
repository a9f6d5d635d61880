"""What comes out of a run, in memory or as a folder that plain diffusers loads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import Base, Text, load_base
from .concept import Concept
from .concept_token import ConceptToken
from .learner import Learner
from .loading import BaseModelError, quiet
from .model_card import model_card
from .records import StepRecord
from .system.files import atomic_save_pretrained, atomic_write_json, atomic_write_text

MARKER = "adb.json"  # in a saved model: which word it learned


class OutputError(RuntimeError):
    """A folder that holds something else; one line that names it and the cure."""


def check_target(folder: str | Path) -> None:
    """A folder is replaced only if it is empty or a saved result; all else is not ours to remove.

    Raises:
        OutputError: it holds something else.
    """
    folder = Path(folder)
    if not folder.exists() or (folder / MARKER).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise OutputError(
            f"{folder} is in the way, and not a saved model that may be replaced: "
            "choose another folder, or move it"
        )


@dataclass
class Result:
    """A personalized model; :func:`adb_core.generate` draws with it.

    Attributes:
        learner: the trained parts; history: every step's record, stage after stage.
    """

    learner: Learner
    history: tuple[StepRecord, ...] = ()

    @property
    def token(self) -> ConceptToken:
        return self.learner.token

    @property
    def base(self) -> Base:
        """The model that the training started from."""
        return self.learner.base

    @property
    def unet(self) -> Any:
        return self.learner.unet

    @property
    def text(self) -> Text:
        return self.learner.text

    @property
    def concept(self) -> Concept:
        return self.learner.concept

    @property
    def recipe_name(self) -> str:
        return self.learner.recipe.name

    @property
    def subject(self) -> str:
        """What ``{}`` in a prompt becomes, as "<pico> cat"."""
        return self.learner.prompt("{}")

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens of the new word, one a vector."""
        return tuple(self.token.words)

    def expand(self, prompt: str) -> str:
        """Write out all vectors of the placeholder, as the tokenizer reads it."""
        return self.token.expand(prompt)

    def pipeline(self) -> Any:
        """A plain diffusers pipeline that shares these modules."""
        self.token.bake()
        return self.base.pipeline(self.unet, self.text)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write a folder that a plain diffusers pipeline loads, with a model card.

        The folder also holds ``learned_embeds.safetensors`` for ``load_textual_inversion``. It
        appears whole or not at all.

        Raises:
            OutputError: the folder holds something that is not a saved result.
            DiskFull: no space left.
        """

        def write(target: Path) -> None:
            with quiet():
                self.pipeline().save_pretrained(target, safe_serialization=True)
            self.token.save(target / "learned_embeds.safetensors")
            atomic_write_text(target / "README.md", str(model_card(self.learner)))
            atomic_write_json(target / MARKER, self._marker())

        folder = Path(folder)
        check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        atomic_save_pretrained(write, folder, staging=folder.parent)
        return folder

    def _marker(self) -> dict:
        """What :func:`load_result` needs to know beyond the weights."""
        return {
            "format": 1,
            "subject": self.subject,
            "placeholder": self.concept.placeholder,
            "category": self.concept.category,
            "words": list(self.words),
            "concept": self.concept.name,
            "recipe": self.recipe_name,
            "base": self.base.name,
            "revision": self.base.revision,
            "seed": self.learner.seed,
        }


@dataclass(frozen=True)
class SavedResult:
    """A saved model with the word it learned; it draws like a :class:`Result`.

    Attributes:
        base: the loaded parts, as of any model folder.
        subject: what ``{}`` in a prompt becomes; words: all words of the placeholder, one a vector.
        info: everything that ``adb.json`` says.
    """

    base: Base
    subject: str
    placeholder: str
    category: str
    words: tuple[str, ...]
    info: dict

    concept = None  # its photos are not in the folder

    @property
    def unet(self) -> Any:
        return self.base.unet

    @property
    def text(self) -> Text:
        return self.base.text

    @property
    def recipe_name(self) -> str:
        return self.info.get("recipe", "saved")

    def expand(self, prompt: str) -> str:
        """Write out all vectors of the placeholder, as the tokenizer reads it."""
        return prompt.replace(self.placeholder, " ".join(self.words))

    def pipeline(self) -> Any:
        """A plain diffusers pipeline that shares the modules of ``base``."""
        return self.base.pipeline()


def read_marker(folder: str | Path) -> dict:
    """``adb.json`` of a folder that :meth:`Result.save_pretrained` wrote.

    Raises:
        BaseModelError: it is missing or damaged.
    """
    path = Path(folder) / MARKER
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        texts = all(isinstance(info[key], str) for key in ("subject", "placeholder", "category"))
        if texts and info["words"]:
            return info
        reason = "an entry is not a text"
    except FileNotFoundError as error:
        raise BaseModelError(
            f"{folder} is not a saved result: it has no {MARKER}; "
            "give the model folder that training wrote"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = str(error)
    raise BaseModelError(f"{path} is damaged ({reason}): train again, or copy the folder again")


def load_result(folder: str | Path, *, device: str = "auto") -> SavedResult:
    """Load what :meth:`Result.save_pretrained` wrote, ready for :func:`adb_core.generate`.

    Raises:
        BaseModelError: not such a folder, or a part of it is missing or damaged.
    """
    info = read_marker(folder)
    base = load_base(str(folder), device=device)
    return SavedResult(
        base, info["subject"], info["placeholder"], info["category"], tuple(info["words"]), info
    )
