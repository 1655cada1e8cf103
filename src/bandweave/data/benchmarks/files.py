"""The ways in which benchmarks store what they hold: structures, coordinate lists, ROI texts."""

from __future__ import annotations

import hashlib
import re
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


def in_structure(key: str | None) -> bool:
    """The key goes into a MATLAB structure."""
    return key is not None and ("." in key or "[" in key)


def read_structure(path: Path, key: str) -> np.ndarray:
    """An array inside a structure of a .mat file (v5), by a key such as `hsi.Lidar[0].z`."""
    import scipy.io

    first, *steps = re.findall(r"\w+", key)
    try:
        item = scipy.io.loadmat(
            path, squeeze_me=True, struct_as_record=False, variable_names=[first]
        )[first]
        for step in steps:
            item = np.atleast_1d(item)[int(step)] if step.isdigit() else getattr(item, step)
    except (KeyError, AttributeError, IndexError) as error:
        raise FileError(f"{path} has no '{key}': {error}") from error
    except Exception as error:  # scipy's reader raises whatever the damage leads to
        raise FileError(f"{path} is no readable MATLAB file: {error}") from error
    array = np.asarray(item)
    if array.dtype.kind not in "biuf":
        raise FileError(f"'{key}' in {path} is no array of numbers, but {array.dtype}")
    return array


def read_matrix(path: Path, key: str | None) -> np.ndarray:
    """A 2-D array (rows, columns) of whole numbers, int64: codes, or coordinates."""
    if in_structure(key):
        values = read_structure(path, str(key)).astype(float)
    else:
        source = open_source(path, key=key)
        values = source.read(source.grid.window)[0].astype(float)
        values = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    if values.ndim != 2 or (values != np.round(values)).any():
        raise FileError(f"{path}{f':{key}' if key else ''} is no image of class codes")
    return values.astype(np.int64)


def read_regions(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Codes (H, W) from an ENVI region-of-interest text: one region a class, in order.

    Lines are `number column row …`, counted from 1; a region starts where the number is 1 again.
    """
    codes, code = np.zeros(shape, np.int64), 0
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    for count, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith(";"):
            continue
        try:
            number, column, row = (int(float(word)) for word in words[:3])
        except ValueError:
            raise FileError(f"{path}, line {count}: expected `number column row`") from None
        code += number == 1
        if not (1 <= row <= shape[0] and 1 <= column <= shape[1]):
            raise FileError(
                f"{path}, line {count}: row {row}, column {column} lies outside "
                f"{shape[0]}×{shape[1]} px"
            )
        codes[row - 1, column - 1] = code
    return codes


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
