"""MATLAB files of version 5: variables, and arrays in their structs and cells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.errors import FileError
from bandweave.raster.formats.array_files import ArrayFile, ArrayReader
from bandweave.raster.formats.matlab.elements import check_elements
from bandweave.raster.formats.stored import (
    MOST_LISTED,
    NUMBERS,
    WAVELENGTHS,
    Entry,
    OpenArray,
    find_wavelengths,
    name_element,
    show_shape,
    to_dense,
)


class MatlabReader(ArrayReader):
    """MATLAB files up to version 7, which SciPy reads; those of 7.3 are HDF5."""

    noun, endings = "MATLAB file", (".mat",)

    def recognises(self, path: Path, head: bytes) -> bool:
        return head.startswith(b"MATLAB ")

    def open_file(self, path: Path) -> ArrayFile:
        return MatlabFile(path)


class MatlabFile(ArrayFile):
    """A MATLAB file of version 5: variables, and arrays in their structs and cells."""

    def __init__(self, path: Path) -> None:
        import scipy.io

        check_elements(path)
        self._path = path
        self._variables = scipy.io.whosmat(path)
        self._containers: dict[str, Any] = {}  # structs and cells, which are looked into twice

    def entries(self) -> Iterator[Entry]:
        for name, shape, kind in self._variables:
            if min(shape, default=0) < 0:
                raise FileError(f"it has an array of shape {show_shape(shape)}")
            if kind in ("struct", "cell", "object"):
                self._containers[name] = self._load(name)
                for key, value in _walk_struct(self._containers[name], name):
                    yield Entry(key, value.shape, str(value.dtype))
            else:
                yield Entry(name, shape, kind)

    def open(self, entry: Entry) -> OpenArray:
        root = re.split(r"[.{(]", entry.key, maxsplit=1)[0]
        arrays = {
            key: value
            for name, container in self._containers.items()
            for key, value in _walk_struct(container, name)
        }
        arrays |= {
            name: np.asarray(self._load(name))
            for name, shape, kind in self._variables
            if WAVELENGTHS.search(name)
            and kind not in ("struct", "cell", "object", "char", "sparse", "opaque", "function")
            and math.prod(shape) <= MOST_LISTED
        }
        value = arrays[entry.key] if root in self._containers else self._load(root)
        value = to_dense(value) if hasattr(value, "toarray") else value
        return OpenArray(value, wavelengths=find_wavelengths(entry, arrays))

    def _load(self, name: str) -> Any:
        import scipy.io

        return scipy.io.loadmat(self._path, variable_names=[name])[name]

    def close(self) -> None:
        pass


def _walk_struct(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of numbers in a struct or cell, by their paths as MATLAB writes them."""
    value = to_dense(value) if hasattr(value, "toarray") else value
    if not isinstance(value, np.ndarray):
        return
    flat = value.ravel(order="F")
    if value.dtype.names:
        for number, one in enumerate(flat[:MOST_LISTED]):
            own = path if len(flat) == 1 else f"{path}({name_element(number, value.shape)})"
            for name in value.dtype.names:
                yield from _walk_struct(one[name], f"{own}.{name}")
    elif value.dtype == object:
        for number, one in enumerate(flat[:MOST_LISTED]):
            yield from _walk_struct(one, f"{path}{{{name_element(number, value.shape)}}}")
    elif value.dtype.kind in NUMBERS:
        yield path, value
