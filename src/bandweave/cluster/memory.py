"""Memory of a worker, which is asked for the same large pieces again and again."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
LARGEST_MMAP, LARGEST = 32 << 20, (1 << 31) - 1  # bytes


def keep_freed_memory() -> None:
    """Keep what is freed for the next request, where the C library is glibc; else do nothing.

    Dask starts its workers so that each free gives pages back to the system, and each of the next
    request's pages costs a fault.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, LARGEST_MMAP)
        library.mallopt(TRIM_THRESHOLD, LARGEST)
