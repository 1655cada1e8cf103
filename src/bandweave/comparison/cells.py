"""The folder of a cell: who works in it, and the files that say if it is done or why not.

cell.json     what the cell was, when all is done
failed.json   why it is not done
"""

from __future__ import annotations

import json
import platform
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bandweave.cluster.lock import wait_for_folder
from bandweave.comparison.plan import Cell
from bandweave.errors import BandweaveError, RunError
from bandweave.training.atomic import write_json
from bandweave.training.config import conflicts
from bandweave.training.folder import VERSIONS


def attempt_cell(root: Path, cell: Cell, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Make a cell that is not done; return what `cell.json` or `failed.json` holds in the end.

    An error is written down and returned: it is this cell's alone. Raises nothing but what is no
    `Exception`.
    """
    folder = root / cell.place
    try:
        with wait_for_folder(folder):
            done = read_finished(root, cell)
            if done is not None:
                return done
            (folder / "failed.json").unlink(missing_ok=True)
            try:
                facts = make()
            except Exception as error:
                return _write_failure(folder, cell, error)
            write_json(folder / "cell.json", facts)
            return facts
    except Exception as error:  # not even the folder could be made, or the error written
        return {"failed": explain_error(error)}


def read_finished(root: Path, cell: Cell) -> dict[str, Any] | None:
    """The content of cell.json; None where the cell is not done.

    Raises RunError where the folder is of another configuration.
    """
    path = root / cell.place / "cell.json"
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        identity = stored["identity"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({error!s:.200}); copy it again from where it was made, or "
            f"compare into another folder"
        ) from error
    differing = conflicts(identity, json.loads(json.dumps(cell.identity)))
    if differing:
        raise RunError(
            f"{path.parent} was made with another configuration: {'; '.join(differing)}. "
            f"Compare into another folder"
        )
    return stored


def read_failure(root: Path, cell: Cell) -> dict[str, Any] | None:
    """The content of failed.json; None where the cell did not fail."""
    try:
        return json.loads((root / cell.place / "failed.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def explain_missing(root: Path, cell: Cell, failures: Mapping[str, str]) -> str:
    """The reason in words why a cell is not done.

    failures  reasons of cells whose folders could not even hold them, by their place
    """
    failed = read_failure(root, cell) or {}
    return failed.get("failed") or failures.get(str(cell.place)) or "not done yet"


def list_versions(*more: str) -> dict[str, str]:
    """Versions of Python, of the libraries that scores depend on, and of `more`."""
    found = {name: version(name) for name in (*VERSIONS, *more)}
    return {"python": platform.python_version(), **found}


def explain_error(error: BaseException) -> str:
    """The reason of an error in a line."""
    if isinstance(error, BandweaveError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    else:
        text = f"this was not foreseen: {type(error).__name__}: {error}".rstrip(": ")
    return " ".join(text.split())


def _write_failure(folder: Path, cell: Cell, error: Exception) -> dict[str, Any]:
    stored = {
        "failed": explain_error(error),
        "identity": cell.identity,
        "traceback": "".join(traceback.format_exception(error)),
    }
    write_json(folder / "failed.json", stored)
    return stored
