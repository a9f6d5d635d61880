"""Why a model cannot be loaded, in one line with the cure: the libraries' errors, explained.

The libraries raise a dozen kinds of errors for "not there", one out of another, so that the cause
may lie several exceptions deep: every error of the chain is looked at.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .models import find_model


class BaseModelError(RuntimeError):
    """The base model cannot be loaded; the message is one line with the cure."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: as the user gave it; place: a hub id or a folder; revision: of the hub.
        offline: the hub cannot be reached, so what is on this machine must do.
        hollow: parts are made from their configurations alone, without weights or memory for them.
    """

    name: str
    place: str
    revision: str | None
    offline: bool = False
    hollow: bool = False

    @property
    def at(self) -> dict[str, Any]:
        """What every ``from_pretrained`` is told besides the place."""
        return {"revision": self.revision, "local_files_only": self.offline}


@contextmanager
def quiet() -> Iterator[None]:
    """Within, transformers draws no bar for each part, nor remarks that torchvision is missing.

    The bars of downloads stay: they take minutes.
    """
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    silent = are_progress_bars_disabled()
    logging.disable_progress_bar()  # the hub's as well
    if not silent:
        enable_progress_bars()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
        if silent:
            disable_progress_bars()


def no_bars(quiet: bool) -> None:
    """No bars of downloads in this process from here on, if none are wanted."""
    from huggingface_hub.utils import disable_progress_bars

    if quiet:
        disable_progress_bars()


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Within, the libraries are quiet, and their errors become one :class:`BaseModelError`."""
    try:
        with quiet():
            yield
    except BaseModelError:
        raise
    except Exception as error:
        raise BaseModelError(explain(source, error)) from error


# What an error is called, or says in lower case, and what it means; the first that fits.
GATED = (
    ("GatedRepoError",),
    ("gated", "401 client", "403 client", "unauthorized", "forbidden", "access to model"),
)
UNREACHABLE = (
    ("ConnectError", "ConnectTimeout", "ReadTimeout", "LocalEntryNotFoundError", "gaierror"),
    ("connect to", "connection", "offline", "internet", "resolution", "timed out", "cached files"),
)
UNREACHABLE_ERRNOS = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)
ABSENT = (
    ("EntryNotFoundError", "RemoteEntryNotFoundError"),
    ("no file named", "have a file named"),
)


def explain(source: Source, error: BaseException) -> str:
    """What went wrong, and what to do: one line."""
    name, errors = source.name, chain(error)
    kinds = {type(each).__name__ for each in errors}
    model = find_model(name)
    other = f"use {model.fallback!r}" if model and model.fallback else "use 'tiny'"
    if any(isinstance(each, OSError) and each.errno == errno.ENOSPC for each in errors):
        return f"{name}: the disk is full: free some space, or let HF_HOME name a larger one"
    if "RevisionNotFoundError" in kinds:
        return (
            f"the hub has {name!r}, but not its revision {source.revision!r}: "
            "check the commit or tag, or leave it out"
        )
    # the hub's words for "not found" speak of gates too
    absent = "RepositoryNotFoundError" in kinds and "GatedRepoError" not in kinds
    if fits(errors, GATED) and not absent:
        return f"{name} is gated: accept its licence on the hub, log in with a token, and try again"
    if absent:
        return (
            f"the hub has no {name!r}, or you may not see it: "
            f"check the spelling, log in with a token, or {other}"
        )
    if fits(errors, ABSENT) and is_begun(source):
        return (
            f"{name} is on this machine in part only and the hub cannot be reached: "
            "go online, where the rest is downloaded, give a folder, or use 'tiny'"
        )
    if fits(errors, UNREACHABLE) or any(map(is_refused, errors)):
        return (
            f"{name} is not on this machine and the hub cannot be reached: "
            "go online once, give a folder, or use 'tiny'"
        )
    text = " ".join(str(error).split())
    if fits(errors, ABSENT):
        return (
            f"{name} lacks a file of a diffusers model ({text[:160]}): "
            f"give one that StableDiffusionPipeline.save_pretrained wrote, or {other}"
        )
    return (
        f"{name} cannot be loaded ({type(error).__name__}: {text[:160]}): "
        f"download it again, or {other}"
    )


def is_begun(source: Source) -> bool:
    """Whether the hub cannot be reached, and a download from it once broke off."""
    from huggingface_hub import try_to_load_from_cache

    if not source.offline:
        return False
    index = try_to_load_from_cache(source.place, "model_index.json", revision=source.revision)
    return isinstance(index, str)


def chain(error: BaseException | None) -> list[BaseException]:
    """An error and everything that led to it."""
    errors: list[BaseException] = []
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__
    return errors


def fits(errors: list[BaseException], meaning: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    """Whether an error of a chain has one of these names, or says one of these words."""
    names, words = meaning
    return any(
        type(each).__name__ in names or any(word in str(each).lower() for word in words)
        for each in errors
    )


def is_refused(error: BaseException) -> bool:
    """Whether the system says that there is no way to the other side."""
    known = isinstance(error, OSError) and error.errno in UNREACHABLE_ERRNOS
    return known or isinstance(error, (ConnectionError, TimeoutError))
