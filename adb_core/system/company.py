"""Sharing the cores with other programs, at full speed alone and without a change of results.

torch's threads split every operation and wait for one another, many times in a step. GNU OpenMP,
which torch uses on Linux, has a waiting thread spin for some milliseconds: quickest for a program
that has the machine for itself. If another program holds one of the cores, the thread that shares
this core is late, and the others, by spinning, keep the free core from helping it out: a
generation of 0.5 s takes 2 to 24 s. Threads that sleep instead take 0.8 s there, but 1.3 s alone.

So the choice has to follow the company, and OpenMP reads its settings only once, when it loads.
But it cuts its own spinning short (``gomp_throttled_spin_count_var``) as long as a process has
more OpenMP threads than cores. :class:`Company` looks around once a second, and while it finds
another busy program it keeps a second team of threads, asleep. The number of threads that compute
stays what it was, and so does every bit of every result (``benchmarks/waiting.py`` measures it).
"""

from __future__ import annotations

import os
import sys
import threading

from .devices import busy_elsewhere

FIRST, NEXT = 0.2, 1.0  # seconds that a look takes: the first has to be quick
ARRIVED, GONE = 0.5, 0.25  # cores that others keep busy
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # whoever set one of these has chosen


class Company:
    """Watches for other programs in a thread of its own, and has OpenMP sleep beside them."""

    def __init__(self) -> None:
        self._left = threading.Event()  # set: the second team may go
        self._team: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def here(self) -> bool:
        """Whether idle threads sleep at present."""
        return self._team is not None

    def watch(self) -> None:
        """Look around until :meth:`stop` is called."""
        seconds = FIRST
        while not self._stop.is_set():
            busy = busy_elsewhere(seconds)
            if busy is None:  # this system does not say
                break
            self.see(busy)
            seconds = NEXT
        self.see(0.0)

    def see(self, busy: float) -> None:
        """Act on what was seen: so many cores are kept busy by others."""
        if busy > ARRIVED and self._team is None:
            self._left.clear()
            self._team = threading.Thread(target=self._keep_team, daemon=True)
            self._team.start()
        elif busy < GONE and self._team is not None:
            self._left.set()
            self._team.join()  # its OpenMP threads end with it
            self._team = None

    def stop(self) -> None:
        self._stop.set()

    def _keep_team(self) -> None:
        import torch

        # Large enough to be split, so that OpenMP gives this thread a team.
        torch.ones(1 << 20).add_(1)
        self._left.wait()


_watching: Company | None = None
_lock = threading.Lock()


def mind_company() -> Company | None:
    """Start to watch for other programs; once a process, later calls return the same.

    Returns None, and does nothing, where torch does not use GNU OpenMP (outside Linux), where there
    is only one thread (nobody waits), or where the environment chooses how OpenMP waits.
    """
    global _watching
    one = os.environ.get("OMP_NUM_THREADS") == "1" or os.cpu_count() == 1
    chosen = any(name in os.environ for name in SETTINGS)
    if one or chosen or sys.platform != "linux":
        return None
    import torch  # noqa: F401  loaded before another thread needs it

    with _lock:
        if _watching is None:
            _watching = Company()
            threading.Thread(target=_watching.watch, daemon=True).start()
        return _watching
