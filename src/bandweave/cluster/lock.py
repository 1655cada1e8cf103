"""One process at a time in a folder, by a lock that the system gives up when the process dies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bandweave.output_files import try_lock

log = logging.getLogger(__name__)

EVERY = 0.2  # seconds between two tries
_own = threading.Lock()  # a process trains one run at a time: torch has one generator


@contextmanager
def wait_for_folder(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread works in the folder, and keep them out meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with _own, open(folder / ".lock", "a") as file:
        told = False
        while not try_lock(file.fileno()):
            if not told:
                log.info("%s: another process works there; waiting for it", folder)
                told = True
            time.sleep(EVERY)
        yield  # closing the file gives the lock up
