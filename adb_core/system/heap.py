"""Memory that a step has freed stays with the process, for the next step wants it again.

glibc hands free memory at the top of its heap back to the system as soon as there is more of it
than a threshold, and the next step pays for every page anew. Whether a step ends with that much at
the top depends on where a few small objects happen to lie: two runs of the same arithmetic differ
by up to 11,000 page faults a step, 5 to 40 ms of a step of 110 ms (stage 3 of the tiny model).
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT = 512 << 20  # bytes at the top of the heap that are not handed back
# What is larger than this never lies in the heap. It is where glibc's own threshold ends up by
# itself after a few tensors; it has to be given, for giving the other one stops its growth.
MAPPED = 32 << 20


def keep_heap() -> bool:
    """Have glibc keep up to :data:`KEPT` bytes of freed memory; no result changes by it.

    Returns False, and does nothing, outside Linux, with another C library, and where the
    environment has settings of its own (``MALLOC_...`` or ``GLIBC_TUNABLES``).
    """
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if chosen or sys.platform != "linux":
        return False
    try:
        library = ctypes.CDLL("libc.so.6")
        library.gnu_get_libc_version  # noqa: B018  musl has a mallopt that does nothing
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED) and mallopt(M_TRIM_THRESHOLD, KEPT))
