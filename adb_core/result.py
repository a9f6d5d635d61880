"""What comes out of a run, in memory or as a folder that plain diffusers loads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .base import Base, Text, load_base
from .concept import Concept
from .concept_token import ConceptToken
from .learner import Learner
from .loading import BaseModelError, quiet
from .lora import WEIGHTS, load_adapters, merged, save_adapters
from .model_card import model_card
from .records import StepRecord
from .system.files import atomic_save_pretrained, atomic_write_json, atomic_write_text

MARKER = "adb.json"  # in a saved model: which word it learned
CURE = "train again, or copy the folder again"
EMBEDDINGS = "learned_embeds.safetensors"


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

    def save_pretrained(self, folder: str | Path, *, merge: bool = False) -> Path:
        """Write a folder that a plain diffusers pipeline loads, with a model card.

        The folder also holds ``learned_embeds.safetensors`` for ``load_textual_inversion``. It
        appears whole or not at all. Of a recipe with LoRA, it holds no model, but the adapters for
        ``load_lora_weights``, unless they are to be merged.

        Args:
            merge: add the adapters to the weights, and write a whole model.

        Raises:
            OutputError: the folder holds something that is not a saved result.
            DiskFull: no space left.
        """
        lora = None if merge else self.learner.recipe.lora

        def write(target: Path) -> None:
            self.token.bake()
            if lora is not None:
                save_adapters(target / WEIGHTS, self.unet, lora)
            else:
                pipeline = self.base.pipeline(merged(self.unet), self.text)
                with quiet():
                    pipeline.save_pretrained(target, safe_serialization=True)
            self.token.save(target / EMBEDDINGS)
            card = model_card(self.learner, adapters=lora is not None)
            atomic_write_text(target / "README.md", str(card))
            atomic_write_json(target / MARKER, self._marker(adapters=lora is not None))

        folder = Path(folder)
        check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        atomic_save_pretrained(write, folder, staging=folder.parent)
        return folder

    def _marker(self, adapters: bool) -> dict:
        """What :func:`load_result` needs to know beyond the weights."""
        origin = {}
        if adapters:  # which model they belong to, what it was loaded in, and the size trained at
            dtype = str(self.base.dtype).removeprefix("torch.")
            origin = {"adapters": True, "base_digest": self.learner.base_digest, "dtype": dtype}
            origin["latent_side"] = self.unet.config.sample_size
        return {
            **origin,
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
        base: the loaded parts, as of any model folder; of saved adapters, the model that they
            were trained on, whose weights are shared and not held a second time.
        subject: what ``{}`` in a prompt becomes; words: all words of the placeholder, one a vector.
        info: everything that ``adb.json`` says.
        adapted_unet, token: of saved adapters, the U-Net with them, and the word.
    """

    base: Base
    subject: str
    placeholder: str
    category: str
    words: tuple[str, ...]
    info: dict
    adapted_unet: Any = None
    token: ConceptToken | None = None

    concept = None  # its photos are not in the folder

    @property
    def unet(self) -> Any:
        return self.base.unet if self.adapted_unet is None else self.adapted_unet

    @property
    def text(self) -> Text:
        return self.base.text if self.token is None else self.token.text

    @property
    def recipe_name(self) -> str:
        return self.info.get("recipe", "saved")

    def expand(self, prompt: str) -> str:
        """Write out all vectors of the placeholder, as the tokenizer reads it."""
        return prompt.replace(self.placeholder, " ".join(self.words))

    def pipeline(self) -> Any:
        """A plain diffusers pipeline that shares these modules."""
        return self.base.pipeline(self.unet, self.text)


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
    raise BaseModelError(f"{path} is damaged ({reason}): {CURE}")


def load_result(
    folder: str | Path,
    *,
    device: str = "auto",
    base: Base | None = None,
    dtype: torch.dtype | None = None,
) -> SavedResult:
    """Load what :meth:`Result.save_pretrained` wrote, ready for :func:`adb_core.generate`.

    Args:
        base: of saved adapters, the model that they were trained on, if it is loaded already; else
            it is found by the name that it had.
        dtype: of a whole model's weights; None is float32. Adapters have that of their training.

    Raises:
        BaseModelError: not such a folder, or a part of it is missing or damaged; adapters of
            another model than ``base``.
    """
    info = read_marker(folder)
    names = info["subject"], info["placeholder"], info["category"], tuple(info["words"]), info
    if not info.get("adapters"):
        whole = load_base(str(folder), device=device, dtype=dtype or torch.float32)
        return SavedResult(whole, *names)
    if dtype is not None and str(dtype) != f"torch.{info.get('dtype', 'float32')}":
        raise BaseModelError(
            f"{folder} holds adapters over a base in {info.get('dtype', 'float32')}: leave --dtype "
            "out, or save the whole model with merge=True"
        )
    base = base or _origin(folder, info, device)
    if base.fingerprint() != info["base_digest"]:
        raise BaseModelError(
            f"{folder} holds adapters of another model than {base.name}: load the one that they "
            f"were trained on, {info['base']}, and give it as base="
        )
    token = ConceptToken(base, info["placeholder"], info["category"], vectors=len(info["words"]))
    token.load(Path(folder) / EMBEDDINGS)
    unet = load_adapters(Path(folder) / WEIGHTS, base.unet)
    unet.register_to_config(sample_size=info["latent_side"])
    return SavedResult(base, *names, unet, token)


def _origin(folder: str | Path, info: dict, device: str) -> Base:
    """The model that saved adapters were trained on, by the name that it had then."""
    dtype = getattr(torch, str(info.get("dtype", "float32")), None)
    if not isinstance(dtype, torch.dtype):
        raise BaseModelError(f"{Path(folder) / MARKER} is damaged (dtype): {CURE}")
    try:
        return load_base(info["base"], revision=info["revision"], device=device, dtype=dtype)
    except BaseModelError as error:
        raise BaseModelError(
            f"{folder} holds adapters for the model {info['base']}, which is not there; "
            f"load it and give it as base= ({error})"
        ) from error
