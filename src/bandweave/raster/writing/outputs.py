"""Files that appear together, whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import rasterio

from bandweave.errors import OutputError
from bandweave.output_files import check_output, make_unfinished_name, only_writer, remove_abandoned

FOLDER = "bandweave"  # the name that hidden folders of unfinished files begin with
CACHE_BYTES = 64 * 2**20  # GDAL's own default is 5 % of the machine's memory


class Writer(Protocol):
    """Something that is written bit by bit, as an `OutputSet` needs it."""

    def finish(self) -> None:
        """Complete the file; called once, where all has gone well so far."""

    def discard(self) -> None:
        """Close whatever is open; called in any case."""


class OutputSet:
    """A context that collects outputs beside their targets and renames all of them at its end.

    After an exception in the body, or in the writing itself, no target has changed and nothing is
    left behind. Within the context GDAL's block cache is held at `CACHE_BYTES`, so that memory does
    not grow with the scene. An output is a regular file: links are followed, devices and folders
    refused, and each is written by one process at a time.

    overwrite  files that stand there may be replaced
    inputs     files that are read, which no output may replace

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with OutputSet() as outputs:
    ...     outputs.text(folder / "map.qml", "<qgis/>")
    >>> (folder / "map.qml").read_text()
    '<qgis/>'
    """

    def __init__(
        self, *, overwrite: bool = True, inputs: Iterable[str | os.PathLike[str]] = ()
    ) -> None:
        self._overwrite, self._inputs = overwrite, tuple(inputs)
        self._locks = ExitStack()
        self._folders: dict[
            Path, Path
        ] = {}  # of targets: a hidden one inside, for what is unfinished
        self._files: dict[Path, Path] = {}  # target: unfinished file
        self._writers: list[Writer] = []
        self._env = rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES)

    def check(self, target: str | os.PathLike[str]) -> None:
        """Raise the OutputError that `path` would, before hours of work."""
        check_output(target, overwrite=self._overwrite, inputs=self._inputs)

    def path(self, target: str | os.PathLike[str], *, beside: bool = False) -> Path:
        """The place to write what shall become `target`; OutputError where that cannot be written.

        beside  it belongs to another output, and what stands there goes with that one's
        """
        target = check_output(target, overwrite=self._overwrite or beside, inputs=self._inputs)
        if target in self._files:
            raise OutputError(f"{target} is asked for twice among the outputs; name them apart")
        folder = target.parent
        if folder not in self._folders:
            try:
                remove_abandoned(folder, FOLDER)
                unfinished = folder / make_unfinished_name(FOLDER)
                unfinished.mkdir()
                self._folders[folder] = unfinished
            except FileNotFoundError as error:
                raise OutputError(f"{target} cannot be written: no folder {folder}") from error
            except OSError as error:
                raise cannot_write(target, error) from error
        self._locks.enter_context(only_writer(folder / f".{target.name}.lock", str(target)))
        self._files[target] = self._folders[folder] / target.name
        return self._files[target]

    def unfinished(self, target: str | os.PathLike[str]) -> Path | None:
        """The unfinished file of a target; None where there is none yet."""
        path = self._files.get(Path(os.path.realpath(target)))
        return path if path is not None and path.exists() else None

    def text(self, target: str | os.PathLike[str], text: str, *, beside: bool = False) -> None:
        """A text file, UTF-8; `beside` as in `path`."""
        path = self.path(target, beside=beside)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise cannot_write(target, error) from error

    def register(self, writer: Writer) -> None:
        """Have `writer` finished before the outputs are published."""
        self._writers.append(writer)

    def __enter__(self) -> Self:
        self._env.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for writer in self._writers:
                    writer.finish()
                self._publish()
        finally:
            self.abandon()
            self._env.__exit__(kind, error, trace)

    def abandon(self) -> None:
        """Close and remove all that is unfinished."""
        for writer in self._writers:
            writer.discard()
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        self._locks.close()

    def _publish(self) -> None:
        """Rename all, and undo it should one fail."""
        former: dict[Path, Path | None] = {}
        try:
            for target, unfinished in self._files.items():
                former[target] = None
                if target.exists():
                    former[target] = _set_aside(target, unfinished)
                os.replace(unfinished, target)
        except BaseException as error:  # Ctrl-C too
            for changed, kept_file in former.items():
                if kept_file is not None:
                    os.replace(kept_file, changed)
                elif not self._files[changed].exists():  # it was renamed
                    changed.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise cannot_write(target, error) from error
            raise


def _set_aside(target: Path, unfinished: Path) -> Path:
    kept = unfinished.with_name(unfinished.name + ".former")
    try:
        os.link(target, kept)  # the target is there until the very rename
    except OSError:  # a file system without hard links
        os.replace(target, kept)
    return kept


def cannot_write(target: str | os.PathLike[str], error: BaseException) -> OutputError:
    """The error to raise for a file that could not be written, with the reason and what to do."""
    reason = str(error.__cause__ or error)
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    free = _free(Path(target))
    if getattr(error, "errno", None) == errno.ENOSPC or "space" in reason.lower():
        reason = "the disk is full"
    return OutputError(f"{target} could not be written: {reason} ({free} free); nothing was kept")


def _free(target: Path) -> str:
    try:
        return size(shutil.disk_usage(target.parent).free)
    except OSError:
        return "an unknown amount"


def size(count: float) -> str:
    """Bytes for people.

    >>> size(3_200_000_000)
    '3.2 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
