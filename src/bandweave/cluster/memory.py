"""Memory of a process that takes and frees the same again and again."""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h
_LARGEST_ON_THE_HEAP = 32 << 20  # bytes; the C library takes no more
_KEPT = (1 << 31) - 1  # bytes; the largest int


def keep_freed_memory() -> None:
    """Keep memory that is freed for the next step of the same work.

    The C library shall not give it back to the system between, which would hand it out anew page
    by page. Nothing happens where the C library is not GNU's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_ON_THE_HEAP)
        mallopt(_TRIM_THRESHOLD, _KEPT)
