"""Whether a disturbed command left what an undisturbed one writes, times and paths aside."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

PASSING = {"seconds", "machine", "versions", "date", "started", "load", "command", "time"}


def listed(folder: Path) -> set[str]:
    """Every file below a folder, by its path there."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def differing(folder: Path, whole: Path) -> list[str]:
    """What is missing, left over or other in `folder` than in `whole`."""
    here, there = listed(folder), listed(whole)
    found = [f"LOST {name}" for name in sorted(there - here)]
    found += [f"LEFT {name}" for name in sorted(here - there)]
    return found + other(folder, whole)


def other(folder: Path, whole: Path, growing: bool = False) -> list[str]:
    """Files of both folders whose content differs.

    growing   leave out what a command that was killed goes on with: it is read all the same
    """
    found = []
    for name in sorted(listed(folder) & listed(whole)):
        try:
            same = content(folder / name, folder) == content(whole / name, whole)
        except Exception as error:
            found.append(f"TORN {name}: {type(error).__name__}: {error}")
            continue
        if not same and not (growing and Path(name).name in GROWING):
            found.append(f"OTHER {name}")
    return found


GROWING = ("last.ckpt", "history.csv", "compare.yaml", "times.csv")


def content(path: Path, root: Path) -> Any:
    """What a file says, without what depends on when and where it was written."""
    for ending, read in _READ.items():
        if path.name.endswith(ending):
            return read(path, root)
    return path.read_bytes().replace(str(root).encode(), b"OUT")


def _weights(path: Path, root: Path) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        stored = json.loads(file.metadata()["bandweave"])
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    return tensors, _lasting(stored, root)


def _checkpoint(path: Path, root: Path) -> Any:
    import torch

    from bandweave.training.checkpoint import load_checkpoint

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if key not in PASSING}
        if isinstance(value, str):
            return value.replace(str(root), "OUT")
        return [plain(each) for each in value] if isinstance(value, list | tuple) else value

    return plain(load_checkpoint(path))  # which compares its checksums


def _table(path: Path, root: Path) -> Any:
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    return [{key: cell for key, cell in row.items() if key not in PASSING} for row in rows]


def _json(path: Path, root: Path) -> Any:
    return _lasting(json.loads(path.read_text()), root)


def _lasting(value: Any, root: Path) -> Any:
    if isinstance(value, dict):
        kept = {key: _lasting(each, root) for key, each in value.items()}
        return {key: each for key, each in kept.items() if key not in PASSING}
    if isinstance(value, list):
        return [_lasting(each, root) for each in value]
    return value.replace(str(root), "OUT") if isinstance(value, str) else value


def _page(path: Path, root: Path) -> Any:
    """That it is whole: times stand in many of its places."""
    text = path.read_text()
    if not text.rstrip().endswith("</html>"):
        raise ValueError("a page without an end")
    return re.findall(r"<h[12][^>]*>[^<]*", text)


def _raster(path: Path, root: Path) -> Any:
    """The file's pixels, and that all of them can be read."""
    import rasterio

    with rasterio.open(path) as dataset:
        return dataset.profile["dtype"], dataset.transform, dataset.read().tobytes()


def _points(path: Path, root: Path) -> Any:
    import pyogrio.raw

    _, _, geometry, fields = pyogrio.raw.read(path)
    return [bytes(shape) for shape in geometry], [field.tolist() for field in fields]


def _timed_text(path: Path, root: Path) -> Any:
    """A table's text, without the seconds in it."""
    return re.sub(r"\b[\d.,]+ (?:ms|s|min|h)\b", "", path.read_text())


def _times(path: Path, root: Path) -> Any:
    return [row.get("run") for row in csv.DictReader(io.StringIO(path.read_text()))]


_READ: dict[str, Callable[[Path, Path], Any]] = {
    ".safetensors": _weights,
    ".ckpt": _checkpoint,
    "times.csv": _times,
    "history.csv": _table,
    "scores.csv": _table,
    "table.md": _timed_text,
    ".json": _json,
    ".html": _page,
    ".tif": _raster,
    ".gpkg": _points,
}
