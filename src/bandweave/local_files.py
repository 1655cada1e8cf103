"""Input files of this machine: there, regular, and what the user named."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bandweave.errors import FileError

_KINDS = (
    (stat.S_ISDIR, "a folder; give a file"),
    (stat.S_ISFIFO, "a pipe, which is read once and may never end; write it to a file first"),
    (stat.S_ISCHR, "a device; give a file"),
    (stat.S_ISBLK, "a device; give a file"),
    (stat.S_ISSOCK, "a socket; give a file"),
)


def check_input_file(path: str | os.PathLike[str]) -> Path:
    """The path of an existing regular file, links followed.

    Raises FileError for what does not exist, for a folder, and for pipes, devices and sockets,
    which could be waited on for ever.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileError(f"{name} does not exist") from None
    except ValueError:  # a NUL in the name
        raise FileError(f"{name!r} is no name that a file can have") from None
    except OSError as error:
        short = name if len(name) <= 200 else f"{name[:200]}…"
        raise FileError(f"{short} cannot be read: {error.strerror or error}") from None
    for is_kind, what in _KINDS:
        if is_kind(mode):
            raise FileError(f"{name} cannot be read: it is {what}")
    return Path(name)


def split_key(path: str | os.PathLike[str]) -> tuple[str | os.PathLike[str], str | None]:
    """FILE and KEY of 'FILE:KEY' where that is no file and FILE is one."""
    name, colon, inner = os.fspath(path).rpartition(":")
    if colon and inner and not os.path.exists(path) and os.path.isfile(name):
        return name, inner
    return path, None
