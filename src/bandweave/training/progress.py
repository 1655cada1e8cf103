"""What a user sees while waiting: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from bandweave.errors import LONGEST, printable
from bandweave.training.processes import is_main

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

EVERY = 10.0  # seconds between plain lines


@cache
def console() -> Console:
    """The one console, on stderr, that bars and log lines share; stdout is for results."""
    from rich.console import Console

    return Console(stderr=True)


class Progress:
    """A bar with numbers (loss, accuracy) and the time left, as a context.

    On a terminal a rich bar; otherwise the first step, one line about every ten seconds, and the
    last; nothing when quiet, and nothing but in rank 0.
    """

    def __init__(self, description: str, total: int, start: int = 0, quiet: bool = False) -> None:
        self.description, self.total, self.done = printable(description, LONGEST), total, start
        self._silent = quiet or not is_main()
        self._began, self._spoke = time.monotonic(), -math.inf
        self._since: float | None = None
        self._start = start
        self._bar: Any = None
        self._task: Any = None
        self._numbers: dict[str, float] = {}

    def __enter__(self) -> Progress:
        if not self._silent and console().is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._bar = Bar(*columns, console=console(), refresh_per_second=4)
            self._task = self._bar.add_task(
                self.description, total=self.total, completed=self.done, numbers="", left=""
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self._silent and self.done > self._said:
            self._say()

    def advance(self, numbers: Mapping[str, float] | None = None, count: int = 1) -> None:
        """Count `count` more as done and show the numbers."""
        self.done += count
        if self._since is None:
            self._since, self._start = time.monotonic(), self.done
        self._numbers = dict(numbers or {})
        if self._bar is not None:
            shown = {"numbers": _shown(self._numbers), "left": self._left()}
            self._bar.update(self._task, completed=self.done, **shown)
        elif not self._silent and time.monotonic() - self._spoke >= EVERY:
            self._say()

    _said = -1

    def _say(self) -> None:
        parts = (f"{self.description} {self.done}/{self.total}", _shown(self._numbers))
        print("  ".join(p for p in (*parts, self._left()) if p), file=sys.stderr, flush=True)
        self._spoke, self._said = time.monotonic(), self.done

    def _left(self) -> str:
        now, fresh = time.monotonic(), self.done - self._start
        if self.done >= self.total:
            return f"{_clock(now - self._began)} in all"
        if (
            fresh <= 0 or self._since is None
        ):  # the first step compiles: it says nothing about the others
            return ""
        return f"{_clock((now - self._since) / fresh * (self.total - self.done))} left"


def track(
    items: Iterable[T], description: str, quiet: bool = False, total: int | None = None
) -> Iterator[T]:
    """Yield the items, with a bar or plain lines. `total` where the items have no length.

    >>> list(track([1, 2], "mapping", quiet=True))
    [1, 2]
    """
    count = total if total is not None else len(items)  # type: ignore[arg-type]
    with Progress(description, count, quiet=quiet) as bar:
        for item in items:
            yield item
            bar.advance()


def _shown(numbers: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())


def _clock(seconds: float) -> str:
    """
    >>> _clock(75), _clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def set_up_logging(quiet: bool = False, verbose: bool = False) -> None:
    """Send the package's log to stderr: notes and warnings, only warnings, or everything.

    A note or a warning is said once, however many files, runs or cells it holds for. Other ranks
    than 0 say errors alone. Calling it again replaces what it set up.
    """
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logger = logging.getLogger("bandweave")
    for handler in [h for h in logger.handlers if h.get_name() == "bandweave"]:
        logger.removeHandler(handler)
    handler = _handler()
    handler.set_name("bandweave")
    handler.setFormatter(_PrintableMessage())
    if not verbose:
        handler.addFilter(_SaidOnce())
    logger.addHandler(handler)
    logger.setLevel(level if is_main() else logging.ERROR)


def _handler() -> logging.Handler:
    if console().is_terminal:
        from rich.logging import RichHandler

        return RichHandler(console=console(), show_path=False, show_time=False)
    return _PlainLines()


class _SaidOnce(logging.Filter):
    """Lets a line pass the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        new = line not in self._said
        self._said.add(line)
        return new


class _PrintableMessage(logging.Formatter):
    """The message of a record; names in it, which come from files, do not steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), LONGEST)


class _PlainLines(logging.Handler):
    """Lines to what sys.stderr is at the time, which a test or a notebook may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(f"{record.levelname.lower()}: {self.format(record)}", file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)
