"""Work spread over processes. No torch, so that they start quickly."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed


def as_made(function: Callable, jobs: Sequence[tuple], workers: int | None = None) -> Iterator:
    """The results of ``function(*job)``, in the order in which they are ready.

    Args:
        function: a module's own, for other processes find it by its name.
        workers: processes; None uses all cores, 1 stays in this process.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        for job in jobs:
            yield function(*job)
        return
    # spawn, not fork: a forked child of a process whose torch threads run can hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _die_with_parent() -> None:
    """A worker whose parent was killed must not go on writing into the folder."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
