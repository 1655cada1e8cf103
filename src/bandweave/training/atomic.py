"""Files that appear whole or not at all: written beside, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bandweave.errors import OutputError
from bandweave.output_files import check_output, make_unfinished_name, remove_abandoned
from bandweave.yaml_files import yaml_text


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` to write to; when the block ends well it takes `path`'s place.

    A link is followed; a folder, a pipe or a device is refused. When the block fails, the file
    beside is removed and whatever stood at `path` stays. A failed
    write (full disk, no permission) is raised as OutputError, also where a library wraps it.
    """
    path = check_output(path)
    beside = path.with_name(make_unfinished_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, path.name)
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
        _flush_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        cause = _os_error(error)
        if cause is None:
            raise
        stays = "; the file that was there stays as it was" if path.exists() else ""
        raise OutputError(
            f"{path} could not be written: {cause}{stays}. Free some space or choose another folder"
        ) from error


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can (POSIX)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _os_error(error: BaseException | None) -> str | None:
    """What the system said, if a failed write is at the root: torch and safetensors wrap it."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        told = re.search(r"I/O error: (.+?) \(os error \d+\)", str(error))  # safetensors
        if told:
            return told[1]
        error = error.__cause__ or error.__context__
    return None


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON, whole or not at all. NaN and infinity, which JSON has not, are refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_yaml(path: Path | str, mapping: Mapping[str, Any]) -> None:
    """Write a mapping as YAML, whole or not at all; `read_yaml` gives the same mapping back."""
    write_text(path, yaml_text(mapping))
