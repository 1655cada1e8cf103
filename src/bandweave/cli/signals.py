"""Ctrl-C and its like: one line, the status that shells expect, and nothing left behind.

A first signal is raised as `Interrupted` where the program is, so that unfinished files are removed
on the way out; while that goes on, further ones of the same kind are not heeded.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
SIGNALS = [getattr(signal, name) for name in WORDS if hasattr(signal, name)]

_received: list[int] = []  # the first signal, once there was one


class Interrupted(KeyboardInterrupt):
    """A signal that ends the program; no `except Exception` holds it."""


def leave_at_once(number: int, _: FrameType | None) -> NoReturn:
    """End the process with the line and status of a signal; for while there is nothing to undo."""
    os.write(2, f"{line_of(number)}\n".encode())
    os._exit(status_of(number))


def end_at_signals_while_loading() -> None:
    """Have signals end a process that has not begun to work: one that loads its modules."""
    if _may_handle() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, leave_at_once)


@contextmanager
def raise_signals(for_good: bool) -> Iterator[None]:
    """Have a first signal raise `Interrupted` in the block; further ones are only counted.

    for_good  leave signals unheeded at the end: the process is ending too
    """
    if not _may_handle():
        yield
        return
    _received.clear()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [n for n in SIGNALS if before[n] is not signal.SIG_IGN]  # as under nohup
    for number in heeded:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN if for_good else before[number] or signal.SIG_DFL)


def get_received() -> int | None:
    """The number of the signal that ends the program; None while there was none.

    It tells more than the exception that arrives: what is interrupted may raise one of its own.
    """
    return _received[0] if _received else None


def line_of(number: int) -> str:
    """The line that says which signal ended the program.

    >>> line_of(signal.SIGINT)
    'bandweave: interrupted'
    """
    return f"bandweave: {WORDS[signal.Signals(number).name]}"


def status_of(number: int) -> int:
    """The exit status that a shell gives: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + number


def _raise(number: int, _: FrameType | None) -> None:
    _received.append(number)
    if len(_received) == 1:
        raise Interrupted
    if len(_received) > 9:  # somebody insists
        leave_at_once(number, None)


def _may_handle() -> bool:
    """Only the first thread of a process hears signals."""
    return threading.current_thread() is threading.main_thread()
