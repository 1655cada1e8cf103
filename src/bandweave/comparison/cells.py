"""The folder of a cell: whose turn it is, whether it is done, and why it is not.

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

from bandweave.cluster.lock import only_one
from bandweave.comparison.plan import Cell
from bandweave.errors import BandweaveError, RunError
from bandweave.training.atomic import write_json
from bandweave.training.config import conflicts
from bandweave.training.folder import VERSIONS


def attempt(root: Path, cell: Cell, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `cell.json` or `failed.json` holds in the end, made by `make` where it is not there.

    An error is written down and returned: it is this cell's alone. Raises nothing but what is no
    `Exception`.
    """
    folder = root / cell.place
    try:
        with only_one(folder):
            done = finished(root, cell)
            if done is not None:
                return done
            (folder / "failed.json").unlink(missing_ok=True)
            try:
                facts = make()
            except Exception as error:
                return _failed(folder, cell, error)
            write_json(folder / "cell.json", facts)
            return facts
    except Exception as error:  # not even the folder could be made, or the error written
        return {"failed": reason(error)}


def finished(root: Path, cell: Cell) -> dict[str, Any] | None:
    """What stands in cell.json, None where the cell is not done.

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


def failure(root: Path, cell: Cell) -> dict[str, Any] | None:
    """What stands in failed.json, None where the cell did not fail."""
    try:
        return json.loads((root / cell.place / "failed.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def why_not_done(root: Path, cell: Cell, failures: Mapping[str, str]) -> str:
    """In words.

    failures  of cells whose folders could not even hold why, by their place
    """
    failed = failure(root, cell) or {}
    return failed.get("failed") or failures.get(str(cell.place)) or "not done yet"


def versions(*more: str) -> dict[str, str]:
    """Of Python and of the libraries that scores depend on, and of `more`."""
    found = {name: version(name) for name in (*VERSIONS, *more)}
    return {"python": platform.python_version(), **found}


def reason(error: BaseException) -> str:
    """Why, in a line."""
    if isinstance(error, BandweaveError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    else:
        text = f"this was not foreseen: {type(error).__name__}: {error}".rstrip(": ")
    return " ".join(text.split())


def _failed(folder: Path, cell: Cell, error: Exception) -> dict[str, Any]:
    stored = {
        "failed": reason(error),
        "identity": cell.identity,
        "traceback": "".join(traceback.format_exception(error)),
    }
    write_json(folder / "failed.json", stored)
    return stored
