"""Open files, a set for each thread of each process, so that sources survive forks and threads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

MOST = 64  # files a thread keeps open; a scene of many parts may have thousands
MOST_BYTES = 512 * 2**20  # that those files may keep of what they decompressed

_local = threading.local()
_inherited: list[
    Any
] = []  # a forked child leaves its parent's files alone, closing them is not safe


def get_handle(path: str, stamp: int, opener: Callable[[str], Any]) -> Any:
    """Get the open file of this thread and process, opened at its first use.

    path    what `opener` takes
    stamp   tells a file from a later one of the same name; see `read_stamp`
    """
    files: OrderedDict[tuple[str, int], Any]
    if getattr(_local, "pid", None) != os.getpid():
        if hasattr(_local, "files"):
            _inherited.append(_local.files)
        _local.pid = os.getpid()
        _local.files = OrderedDict()
    files = _local.files
    key = (path, stamp)
    if key in files:
        files.move_to_end(key)
    else:
        files[key] = opener(path)
        while len(files) > MOST or (len(files) > 1 and _sum_kept(files.values()) > MOST_BYTES):
            files.popitem(last=False)[1].close()
    return files[key]


def _sum_kept(files: Iterable[Any]) -> int:
    """Bytes that open files may keep of what they decompressed."""
    return sum(getattr(file, "kept", 0) for file in files)


def read_stamp(path: str) -> int:
    """The time of the last writing of a file, in nanoseconds; 0 for what is not on a disk."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
