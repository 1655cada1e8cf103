"""Files that may be written to: a regular file or nothing, never an input, nothing unasked.

Unfinished files carry their owner in their names, so that those of a process that died are known
and removed by the next one that writes the same file.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bandweave.errors import OutputError

FOLDER_LOCK = ".writer.lock"  # in a folder that one process at a time writes to

if os.name == "nt":
    import msvcrt
else:
    import fcntl


def check_output(
    target: str | os.PathLike[str],
    *,
    overwrite: bool = True,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """The file that is to be written, links followed.

    overwrite  a file that stands there may be replaced
    inputs     files that are read, which an output never replaces

    Raises OutputError for a folder, a pipe or a device, for an input under any name, and for a file
    that stands there unless `overwrite`.
    """
    name = os.fspath(target)
    path = Path(os.path.realpath(name))
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, ValueError) as error:
        raise OutputError(f"{name[:200]} cannot be written: {error}") from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"{name} is a folder; give the name of a file")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{name} is a device or a pipe, not a file; give the name of a file")
    for one in inputs:
        if _is_same(path, one):
            raise OutputError(
                f"{name} is an input, {os.fspath(one)}, which an output never replaces; give "
                "another name"
            )
    if not overwrite:
        raise OutputError(f"{name} exists; replace it with --overwrite, or choose another name")
    return path


def _is_same(path: Path, other: str | os.PathLike[str]) -> bool:
    with suppress(OSError, ValueError):
        return os.path.samefile(path, other)
    return False


# ------------------------------------------------------------------------------ unfinished files


def make_unfinished_name(name: str) -> str:
    """A hidden name beside `name` that nobody else takes, with the owner in it.

    >>> make_unfinished_name("map.tif").startswith(".map.tif.unfinished-")
    True
    """
    return f"{_begin_name(name)}{_find_owner()}-{secrets.token_hex(4)}"


def _begin_name(name: str) -> str:
    """The beginning of the names of unfinished files; of a long name its first bytes."""
    return f".{name.encode()[:100].decode(errors='ignore')}.unfinished-"


def remove_abandoned(folder: Path, name: str) -> None:
    """Remove what dead processes of this machine left unfinished for `name`."""
    beginning = _begin_name(name)
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(beginning) and _is_abandoned(entry.name[len(beginning) :]):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)


def _find_owner() -> str:
    return f"{_name_host()}-{os.getpid()}-{_find_start(os.getpid())}"


def _is_abandoned(owner: str) -> bool:
    """True where the owner in a name, host-pid-start-number, is a process that is no more."""
    host, *numbers = owner.rsplit("-", 3)
    if len(numbers) != 3 or host != _name_host() or not all(each.isdigit() for each in numbers[:2]):
        return False
    pid, started = int(numbers[0]), int(numbers[1])
    return not _is_alive(pid) or _find_start(pid) != started


def _name_host() -> str:
    return socket.gethostname().replace("/", "_")


def _find_start(pid: int) -> int:
    """The start of a process, in ticks since the machine's; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[19])
    return 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# --------------------------------------------------------------------------------------- locks


@contextmanager
def only_writer(lock: Path, what: str) -> Iterator[None]:
    """Be the only process that writes something, as a file `lock` tells others.

    what  is written, for the message: "the run folder runs/a"

    The system gives the lock up when the process ends, however it does. Raises OutputError, with
    the holder's process and machine, where another process holds it.
    """
    file = _take(lock, what)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(file)


@contextmanager
def only_writer_of_folder(folder: Path, what: str) -> Iterator[None]:
    """Be the only process that writes to a folder, which is made; unmade, where it stays empty.

    Raises OutputError for a file, and where another process holds the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; {what} is a folder, choose another name")
    made = not folder.exists()
    try:
        with only_writer(folder / FOLDER_LOCK, f"the folder {folder}"):
            yield
    finally:
        if made:
            with suppress(OSError):  # it stays where anything was written
                folder.rmdir()


def list_contents(folder: Path) -> list[str]:
    """The names of what a folder holds, but for its lock; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.name != FOLDER_LOCK)


def _take(lock: Path, what: str) -> int:
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"{what} cannot be written: {error.strerror or error}") from error
        try:
            if not try_lock(file):
                raise OutputError(
                    f"{what} is being written by {_name_holder(lock)}; wait until it ends"
                )
            if os.fstat(file).st_ino == os.stat(lock).st_ino:
                os.truncate(file, 0)
                os.write(file, json.dumps({"pid": os.getpid(), "host": _name_host()}).encode())
                return file
        except FileNotFoundError:
            pass  # the holder before removed it; try again with a new one
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def try_lock(file: int) -> bool:
    """Take the lock of an open file; True if it is ours now. It ends when the file closes.

    Where there are no locks, the process tells that the file names.
    """
    try:
        if os.name == "nt":
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        pass
    try:
        held = json.loads(os.pread(file, 4096, 0) or b"{}")
        return not held or (held["host"] == _name_host() and not _is_alive(int(held["pid"])))
    except (ValueError, TypeError, KeyError):
        return True


def _name_holder(lock: Path) -> str:
    with suppress(OSError, ValueError, TypeError, KeyError):
        held = json.loads(lock.read_text())
        return f"process {held['pid']} on {held['host']}"
    return "another process"
