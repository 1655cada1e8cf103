"""Rows of a benchmark in one JSON file, written as they finish, with the machine's facts.

An interrupted run goes on where it stopped: a row that stands in the file is not measured again.
A file that was made on another machine, by other code or with other options is not continued.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import bandweave
from bandweave.training.atomic import write_json
from bandweave.training.folder import machine

PACKAGES = ("bandweave", "torch", "numba", "numpy", "triton", "mambapy", "mamba-ssm")


class Results:
    """The file. `fresh` starts it anew; `path` None keeps the rows in memory alone."""

    def __init__(self, path: Path | None, options: dict[str, Any], fresh: bool = False) -> None:
        self.path = path
        self.content: dict[str, Any] = {"facts": facts(), "options": options, "rows": []}
        if path is None or fresh or not path.exists():
            return
        stored = json.loads(path.read_text())
        for part, names in (("options", options), ("facts", ("cpu", "threads", "source", "gpu"))):
            for name in names:
                was, now = stored[part].get(name), self.content[part].get(name)
                if was != now:
                    raise SystemExit(
                        f"{path} was made with {name} {was}, this run has {now}; "
                        f"continue it as it was, take --fresh to replace it, or another --out"
                    )
        self.content = stored

    def find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """The row of a key, if it was measured."""
        plain = json.loads(json.dumps(key))
        return next((row for row in self.content["rows"] if row["key"] == plain), None)

    def add(self, key: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        """Append a row and write the file whole."""
        row = {"key": key, "at": now(), "load": load(), **values}
        self.content["rows"].append(json.loads(json.dumps(row)))
        if self.path:
            write_json(self.path, self.content)
        return self.content["rows"][-1]


def facts() -> dict[str, Any]:
    """What a time depends on, and when it was taken."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {
        **machine(),
        "versions": found,
        "source": source_hash(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load_before": load(),
        "date": now(),
    }


def source_hash() -> str:
    """Of the scan's and the models' code, so that no row of older code is taken for a new one."""
    folder = Path(bandweave.__file__).parent
    files = [file for part in ("scan", "nn", "models") for file in (folder / part).glob("*.py")]
    content = b"\0".join(file.read_bytes() for file in sorted(files))
    return sha256(content).hexdigest()[:16]


def load() -> list[float] | None:
    """Processes that wanted a core, on average over the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file."""
    return json.loads(path.read_text())["rows"]
