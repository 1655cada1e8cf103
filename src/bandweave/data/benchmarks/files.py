"""The files of benchmarks: where they lie, and the codes and coordinates in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bandweave.errors import FileError
from bandweave.raster.open import open_source


def find_files(folder: Path) -> dict[str, Path]:
    """All files below a folder by their name in small letters; of two, the one less deep."""
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; give the one that holds the benchmark's files")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*"), key=lambda path: (len(path.parts), str(path))):
        if path.is_file():
            found.setdefault(path.name.lower(), path)
    return found


def read_matrix(path: Path, key: str | None, shape: tuple[int, int] | None = None) -> np.ndarray:
    """A 2-D array (rows, columns) of whole numbers, int64: codes, or coordinates.

    shape  rows and columns of the codes, if known
    """
    source = open_source(path, key=key, shape=shape)
    values = source.read(source.grid.window)[0].astype(float)
    values = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    if values.ndim != 2 or (values != np.round(values)).any():
        raise FileError(f"{path}{f':{key}' if key else ''} is no image of class codes")
    return values.astype(np.int64)


def pick(codes: np.ndarray, places: np.ndarray, name: str) -> np.ndarray:
    """Codes (H, W) at the places (N, 2) of rows and columns, 0 elsewhere.

    Copies count from 0 or from 1: whichever finds a label at every place.
    """
    if places.shape[1] != 2:
        raise FileError(f"{name} is {places.shape}; a list of rows and columns has two columns")
    for first in (0, 1):
        at = places - first
        if (at >= 0).all() and (at < codes.shape).all() and (codes[tuple(at.T)] > 0).all():
            out = np.zeros_like(codes)
            out[tuple(at.T)] = codes[tuple(at.T)]
            return out
    raise FileError(f"{name} lists places without a label; it belongs to another copy")


def sha256(path: Path) -> str:
    """The file's checksum, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
