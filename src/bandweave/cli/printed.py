"""Results on stdout, with names from files that must not steer the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from bandweave.errors import printable


class PrintableStream:
    """A text stream that escapes control characters; in all else the one beneath."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escape_stdout() -> Iterator[None]:
    """Escape what the block prints as messages are; a closed stdout stays as it is.

    >>> with escape_stdout():
    ...     print("roof\\x1b[31m")
    roof\\x1b[31m
    """
    if sys.stdout is None:
        yield
        return
    with redirect_stdout(PrintableStream(sys.stdout)):
        yield
