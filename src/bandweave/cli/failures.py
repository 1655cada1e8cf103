"""What a user reads when a command fails: one line, and an exit status."""

from __future__ import annotations

import errno
import os

from bandweave.errors import LONGEST, BandweaveError, printable

FORESEEN, UNFORESEEN, INTERRUPTED = 2, 1, 130


def explain(error: BaseException) -> tuple[str, int]:
    """The line for stderr and the exit status.

    >>> explain(MemoryError())
    ('bandweave: error: not enough memory; take fewer or smaller windows at a time (--batch, \
--crop)', 2)
    """
    if isinstance(error, KeyboardInterrupt):
        return f"bandweave{_process()}: interrupted", INTERRUPTED
    message, status = _told(error)
    line = printable(" ".join(message.split()), LONGEST)
    return f"bandweave{_process()}: error: {line}", status


def _told(error: BaseException) -> tuple[str, int]:
    if isinstance(error, BandweaveError):
        return str(error), FORESEEN
    if _out_of_memory(error):
        return (
            "not enough memory; take fewer or smaller windows at a time (--batch, --crop)",
            FORESEEN,
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{where}; free some space, or write elsewhere", FORESEEN
    if isinstance(error, PermissionError):
        return f"{error.filename or 'a file'}: permission denied", FORESEEN
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"this was not foreseen: {what} (--debug shows where)", UNFORESEEN


def _out_of_memory(error: BaseException) -> bool:
    """Python's, NumPy's, a GPU's, or that of torch's allocator on a CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _process() -> str:
    """Which of several processes speaks; the first needs no name."""
    from bandweave.training.processes import is_main

    return "" if is_main() else f" (process {os.environ.get('RANK') or os.environ['LOCAL_RANK']})"
