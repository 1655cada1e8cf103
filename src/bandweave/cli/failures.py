"""A command that fails: one line for the user, and an exit status."""

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
        return f"bandweave{_name_process()}: interrupted", INTERRUPTED
    message, status = _describe_failure(error)
    line = printable(" ".join(message.split()), LONGEST)
    return f"bandweave{_name_process()}: error: {line}", status


def _describe_failure(error: BaseException) -> tuple[str, int]:
    if isinstance(error, BandweaveError):
        return str(error), FORESEEN
    if _is_out_of_memory(error):
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


def _is_out_of_memory(error: BaseException) -> bool:
    """True for an error of Python, NumPy, a GPU, or torch's allocator on a CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _name_process() -> str:
    """The name of the process that speaks, of several; the first needs none."""
    from bandweave.training.processes import is_main

    return "" if is_main() else f" (process {os.environ.get('RANK') or os.environ['LOCAL_RANK']})"
