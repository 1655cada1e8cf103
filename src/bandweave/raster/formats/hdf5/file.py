"""HDF5 of any program: MATLAB 7.3, NetCDF-4 and the products of sensors among them.

Nothing outside the file is read: arrays that lie in other files (external storage, virtual
datasets, external links) are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse

from bandweave.errors import FileError
from bandweave.raster.formats.array_files import ArrayFile
from bandweave.raster.formats.hdf5.facts import get_own, read_facts
from bandweave.raster.formats.hdf5.heaps import check_heaps
from bandweave.raster.formats.stored import (
    MOST_LISTED,
    NUMBERS,
    WAVELENGTHS,
    Entry,
    OpenArray,
    count_row_bytes,
    find_wavelengths,
    name_element,
    to_dense,
)

CHUNKS_KEPT = 256 * 2**20  # bytes of decompressed chunks that an open file keeps at most
_DEPTH = 40  # of groups in groups and cells in cells


class Hdf5File(ArrayFile):
    """An HDF5 file: arrays in its groups, and in the structs and cells of MATLAB."""

    def __init__(self, path: Path) -> None:
        check_heaps(path)
        self._path = path
        self._file = h5py.File(path, "r")
        with path.open("rb") as head:
            self._matlab = head.read(6) == b"MATLAB"
        self._places: dict[str, str] = {}  # of each key: where it lies in the file

    def entries(self) -> Iterator[Entry]:
        """All arrays, by their keys."""
        for name in self._file:
            if not name.startswith("#"):  # MATLAB's store of what cells refer to
                yield from self._walk(name, get_own(self._file, name), {self._file.id.__hash__()})

    def _walk(self, key: str, item: Any, above: set[int], depth: int = 0) -> Iterator[Entry]:
        if item is None or depth > _DEPTH:
            return
        if isinstance(item, h5py.Group):
            address = hash(item.id)
            if "MATLAB_sparse" in item.attrs and {"jc", "ir", "data"} & set(item):
                self._places[key] = item.name
                yield Entry(key, _read_sparse_shape(item), "sparse")
            elif address not in above:
                for name in item:
                    child = get_own(item, name)
                    yield from self._walk(f"{key}/{name}", child, above | {address}, depth + 1)
        elif isinstance(item, h5py.Dataset):
            if h5py.check_ref_dtype(item.dtype) is not None:
                yield from self._walk_references(key, item, above, depth)
            elif "MATLAB_empty" not in item.attrs:
                self._places[key] = item.name
                kind = item.attrs.get("MATLAB_class", str(item.dtype))
                kind = kind.decode() if isinstance(kind, bytes) else str(kind)
                yield Entry(key, self._get_shape(item), kind)

    def _walk_references(self, key: str, item: Any, above: set[int], depth: int) -> Iterator[Entry]:
        """The elements of a MATLAB cell, or of one field of a struct array."""
        if item.size is None or item.size > MOST_LISTED or "DIMENSION_LIST" in key:
            return
        parent, _, name = key.rpartition("/")
        for number, reference in enumerate(np.asarray(item[()]).ravel()):
            if not isinstance(reference, h5py.Reference) or not reference:
                continue
            place = name_element(number, self._get_shape(item))
            is_field = parent and "MATLAB_class" not in item.attrs
            own = f"{parent}({place})/{name}" if is_field else f"{key}{{{place}}}"
            yield from self._walk(own, self._file[reference], above, depth + 1)

    def _get_shape(self, dataset: Any) -> tuple[int, ...]:
        shape = dataset.shape or ()
        return shape[::-1] if self._is_backwards(dataset) else shape

    def _is_backwards(self, dataset: Any) -> bool:
        return self._matlab or "MATLAB_class" in dataset.attrs

    def open(self, entry: Entry) -> OpenArray:
        """The array of an entry, read by window later."""
        place = self._places[entry.key]
        item = self._file[place]
        if isinstance(item, h5py.Group):
            parts = [item[name][()] if name in item else [] for name in ("data", "ir", "jc")]
            shape = _read_sparse_shape(item)
            if max(parts[1], default=0) >= shape[0] or list(parts[2]) != sorted(parts[2]):
                raise FileError(f"its sparse matrix {entry.key} is damaged")
            matrix = scipy.sparse.csc_matrix(tuple(parts), shape=shape)
            return OpenArray(to_dense(matrix), file=self._file)
        check_inside(item, entry.key)
        kept = self._keep_chunks(item)
        dataset = self._file[place]
        opened = OpenArray(dataset, self._is_backwards(dataset), self._file, kept=kept)
        read_facts(opened, dataset, self._file)
        if opened.wavelengths is None:
            opened.wavelengths = find_wavelengths(entry, self._list_wavelengths())
        return opened

    def _keep_chunks(self, dataset: Any) -> int:
        """Open the file again with a cache that holds the chunks which a row of windows meets.

        Returns the bytes that the cache may take: as many as any axis of rows asks for within
        `CHUNKS_KEPT`.
        """
        if not dataset.chunks or dataset.ndim < 2:
            return 0
        rows = [count_row_bytes(dataset, axis) for axis in range(dataset.ndim)]
        kept = max([size for size in rows if size <= CHUNKS_KEPT], default=2**20)
        chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
        slots = 100 * max(kept // chunk, 1) + 1
        self._file.close()
        self._file = h5py.File(
            self._path, "r", rdcc_nbytes=max(kept, 2**20), rdcc_nslots=slots, rdcc_w0=0
        )
        return kept

    def _list_wavelengths(self) -> dict[str, np.ndarray]:
        """Lists of numbers that may be wavelengths, of the whole file."""
        found: dict[str, np.ndarray] = {}
        for key, place in self._places.items():
            item = self._file[place]
            if (
                WAVELENGTHS.search(key.rpartition("/")[2])
                and isinstance(item, h5py.Dataset)
                and item.dtype.kind in NUMBERS
                and 1 <= item.ndim <= 2
                and item.size == max(item.shape) <= MOST_LISTED
                and is_inside(item)
            ):
                found[key] = np.asarray(item[()])
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_inside(dataset: Any) -> bool:
    """Tell whether the values of a dataset lie in its own file."""
    return not dataset.external and not (
        dataset.is_virtual and any(source.file_name != "." for source in dataset.virtual_sources())
    )


def check_inside(dataset: Any, key: str) -> None:
    """Raise FileError for a dataset whose values lie in other files."""
    if not is_inside(dataset):
        raise FileError(
            f"its array {key} lies in another file, and only the file named is read; "
            "write it into one file first"
        )


def _read_sparse_shape(group: Any) -> tuple[int, int]:
    columns = len(group["jc"]) - 1 if "jc" in group else 0
    return int(group.attrs["MATLAB_sparse"]), columns
