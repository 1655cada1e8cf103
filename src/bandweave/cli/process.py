"""Set how the process of a command waits and keeps memory, before torch is loaded."""

import ctypes
import io
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h
_LARGEST_ON_THE_HEAP = 32 << 20  # bytes; the C library takes no more
_KEPT = (1 << 31) - 1  # bytes; the largest int


def set_up_process() -> None:
    """Threads that wait sleep, and memory that is freed is kept for the next step."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII locale has no '×'
            stream.reconfigure(errors="backslashreplace")
    # A thread of torch that waits would otherwise spin, and on a shared machine take the core that
    # the thread it waits for needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Every step of a training takes and frees the same memory: the C library shall not give it
    back to the system between, which would hand it out anew page by page. Nothing happens where
    the C library is not GNU's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_ON_THE_HEAP)
        mallopt(_TRIM_THRESHOLD, _KEPT)
