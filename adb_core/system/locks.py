"""One process at a time: a lock that the system takes back when its holder dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import sleep
from typing import IO


class Busy(RuntimeError):
    """Another process holds the lock; one line that says which."""


@contextmanager
def exclusive(path: str | Path, what: str = "this") -> Iterator[None]:
    """Within, no other process is inside of ``exclusive`` with the same file.

    The file stays behind, empty of meaning: the lock is the system's, not the file's existence, so
    that a killed process leaves nothing that has to be cleared away.

    Args:
        what: is being done, for the message.

    Raises:
        Busy: another process is inside.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        if not _lock(file):
            raise Busy(
                f"{what} is being done by another process ({_holder(path)}): wait for it, "
                "or work in another folder"
            )
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()}\n")
            file.flush()
            yield
        finally:
            _unlock(file)


@contextmanager
def in_turn(path: str | Path, waiting: Callable[[], None], pause: float = 0.5) -> Iterator[None]:
    """:func:`exclusive`, but whoever comes second waits.

    Args:
        waiting: called once if there is somebody to wait for. pause: seconds between two looks.
    """
    told = False
    with ExitStack() as inside:
        while True:
            try:
                inside.enter_context(exclusive(path))
                break
            except Busy:
                if not told:
                    waiting()
                told = True
                sleep(pause)
        yield


def _holder(path: Path) -> str:
    """What the holder wrote; on Windows a locked file cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip() or "just begun"
    except OSError:
        return "of this machine"


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[str]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
