"""Errors and notes of the library in the words of the command line: flags, not arguments."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from bandweave.errors import BandweaveError

_FLAGS = (
    "axis|bands|crs|device|hqnr|methods?|nodata|out|peak|protocols|ratio|register|run|sensor|validate_every"
    "|window|zero_shot"
)
_ARGUMENT = re.compile(rf"`({_FLAGS})(?:(?:=|: ?)([^`]*))?`")
_FIRST_WORD = re.compile(rf"^({_FLAGS})(?= is ['\d-]| -?\d| ')")
_BARE = re.compile(r"\b(validate_every)\b")


def say_in_flags(text: str) -> str:
    """A message with flags in the place of Python's arguments.

    >>> say_in_flags("2 px off; `register` corrects it")
    '2 px off; --register corrects it'
    >>> say_in_flags("leave it out with `bands=[1, 3]`, choose with `key`")
    'leave it out with --bands 1 3, choose with FILE:KEY'
    >>> say_in_flags("window is 2 px; it must hold an MS pixel, 4 px")
    '--window is 2 px; it must hold an MS pixel, 4 px'
    """
    text = _ARGUMENT.sub(lambda found: _format_flag(found[1], found[2]), text)
    text = _FIRST_WORD.sub(lambda found: _format_flag(found[1]), text)
    text = _BARE.sub(lambda found: _format_flag(found[1]), text)
    return re.sub(r"`(?:\w+_)?key`", "FILE:KEY", text)


def _format_flag(name: str, value: str | None = None) -> str:
    flag = f"--{name.replace('_', '-')}"
    return f"{flag} {re.sub(r'[][,]', '', value)}" if value else flag


@contextmanager
def speak_in_flags(quiet: bool) -> Iterator[None]:
    """Have errors and notes of the body name flags; a note is given once, none where quiet."""
    logger = logging.getLogger("bandweave")
    speaker = _Speaker(logging.ERROR if quiet else logging.NOTSET)
    handlers = list(logger.handlers)
    for handler in handlers:
        handler.addFilter(speaker)
    try:
        yield
    except BandweaveError as error:
        raise type(error)(say_in_flags(str(error))).with_traceback(error.__traceback__) from error
    finally:
        for handler in handlers:
            handler.removeFilter(speaker)


class _Speaker(logging.Filter):
    def __init__(self, level: int) -> None:
        super().__init__()
        self._level, self._said = level, set[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno < self._level or text in self._said:
            return False
        self._said.add(text)
        record.msg, record.args = say_in_flags(text), ()
        return True
