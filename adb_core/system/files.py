"""Writing files so that a kill or a full disk leaves the old content or the new, never half of it.

Everything is written beside its target under a temporary name, flushed to the disk and
then renamed: a rename either happens or it does not.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class DiskFull(RuntimeError):
    """The disk has no space left; the message says where, how much is needed and what to do."""


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error`` means "no space left", however the library that met it wrapped it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)  # safetensors wraps it
    return "No space left on device" in text or "os error 28" in text


def disk_full_message(path: Path, needed: int | None) -> str:
    amount = f"{max(1, needed // 2**20)} MB" if needed is not None else "more"
    return (
        f"disk full: writing {path.name} needs {amount} free at {path.parent.resolve()}; "
        "free space and run the same command again"
    )


@contextmanager
def explain_disk_full(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn "no space left" raised inside into :class:`DiskFull`; other errors pass untouched."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise DiskFull(disk_full_message(Path(path), needed)) from error
        raise


def write_and_sync(path: Path, data: bytes) -> None:
    """Write ``data`` and wait until it is on the disk, so that a later rename cannot outrun it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_file(path: str | Path, needed: int | None = None) -> Iterator[Path]:
    """Within, a temporary file grows beside ``path``; then it takes its place, all or nothing.

    Args:
        needed: its size in bytes, for the message where the disk is full.

    Raises:
        DiskFull: no space left; the old file is untouched and the temporary one is gone.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two writers apart; a kill may leave one such file behind, see `sweep`.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with explain_disk_full(path, needed):
            yield temporary
            with open(temporary, "rb+") as file:  # on the disk, so that the rename cannot outrun it
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Replace the file at ``path`` by ``data``, all or nothing.

    Raises:
        DiskFull: no space left; the old file is untouched and the temporary one is gone.
    """
    with atomic_file(path, len(data)) as temporary:
        write_and_sync(temporary, data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """:func:`atomic_write_bytes` for text (UTF-8)."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | Path, value) -> None:
    """:func:`atomic_write_bytes` for anything JSON can say, indented for human readers."""
    atomic_write_text(path, json.dumps(value, indent=2) + "\n")


def sweep(folder: str | Path) -> None:
    """Remove temporary files that a killed :func:`atomic_write_bytes` left in ``folder``."""
    for path in Path(folder).glob(".*.tmp"):
        if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)


def check_writable(folder: str | Path) -> None:
    """Find out now whether files can be written in ``folder``.

    Nothing is left behind, not even a folder.

    Raises:
        OSError: it cannot be made or written, or is not a folder.
    """
    folder = Path(folder)
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.tmp"
        probe.write_bytes(b"")
        probe.unlink()
    finally:
        for path in missing:  # deepest first
            with suppress(OSError):
                path.rmdir()


# ---------------------------------------------------------------- whole folders


def _side_paths(target: Path, staging: Path | None) -> tuple[Path, Path]:
    """Where the new folder grows and where the old one waits, on the same disk as ``target``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    home = target.parent
    if staging is not None:
        staging.mkdir(parents=True, exist_ok=True)
        if staging.stat().st_dev == target.parent.stat().st_dev:  # a rename cannot cross disks
            home = staging
    return home / f".{target.name}.new", home / f".{target.name}.old"


def recover_folder(target: str | Path, staging: str | Path | None = None) -> None:
    """Finish or undo an :func:`atomic_save_pretrained` that was killed.

    The old folder is moved aside only when the new one is complete, so "no target, but an
    old one aside" means that the last rename is all that is missing.
    """
    target = Path(target)
    new, old = _side_paths(target, Path(staging) if staging is not None else None)
    if old.exists() and not target.exists():
        os.rename(new if new.exists() else old, target)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)


def atomic_save_pretrained(
    save: Callable[[Path], object],
    target: str | Path,
    *,
    staging: str | Path | None = None,
) -> Path:
    """Fill a temporary folder with ``save(folder)``, then swap it in as ``target``.

    Args:
        save: writes into the (existing, empty) folder it is given.
        target: the folder to replace; its old content is gone afterwards.
        staging: where the temporary folder grows (used if on the same disk), so that a kill
            leaves nothing at all beside ``target``. By default beside it, with a leading dot.

    Raises:
        DiskFull: no space left; ``target`` is untouched and the temporary folder is gone.
    """
    target = Path(target)
    staging = Path(staging) if staging is not None else None
    recover_folder(target, staging)
    new, old = _side_paths(target, staging)
    try:
        with explain_disk_full(target):
            new.mkdir()
            save(new)
            _sync_tree(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if target.exists():
        os.rename(target, old)
    os.rename(new, target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
