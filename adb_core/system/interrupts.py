"""Ctrl-C that waits for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt(*others: int) -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C waits until the step is over, so that weights and step count agree.

    Yields a function that says whether it was pressed; a second press raises KeyboardInterrupt
    at once. Only the main thread can do this; elsewhere nothing changes.

    Args:
        others: signals to wait with as well, as ``signal.SIGTERM``; these never raise.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []

    def note(number, frame) -> None:
        again = bool(asked)
        asked.append(number)
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, *others)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
