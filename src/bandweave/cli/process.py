"""Set how the process of a command waits and keeps memory, before torch is loaded."""

import io
import os
import sys

from bandweave.cluster.memory import keep_freed_memory


def set_up_process() -> None:
    """Threads that wait sleep, and memory that is freed is kept for the next step."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII locale has no '×'
            stream.reconfigure(errors="backslashreplace")
    # A thread of torch that waits would otherwise spin, and on a shared machine take the core that
    # the thread it waits for needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        keep_freed_memory()
