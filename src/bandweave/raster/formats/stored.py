"""An array in a file: its key there, and what the file says of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import FileError

NUMBERS = "biuf"  # kinds of dtypes that a layer may have
WAVELENGTHS = re.compile(r"wave|lambda|(?:^|[^a-z])wl", re.I)
MOST_LISTED = 10_000  # numbers of a list that may be wavelengths; elements of a cell that are shown
_MOST_DENSE = 2**28  # elements of a sparse matrix when it is dense


@dataclass(frozen=True)
class Entry:
    """An array in a file: its key, its shape as the file's own program shows it, and its type."""

    key: str
    shape: tuple[int, ...]
    kind: str

    @property
    def is_layer(self) -> bool:
        """Numbers in two or more dimensions that are no mere list."""
        return (
            len(self.shape) >= 2
            and min(self.shape) > 0
            and sum(size > 1 for size in self.shape) in (2, 3)
            and self.kind not in ("char", "cell", "struct", "object", "opaque", "function")
        )

    @property
    def shown(self) -> str:
        """The key, with characters that steer a terminal escaped."""
        return self.key if self.key.isprintable() else repr(self.key)[1:-1]

    def __str__(self) -> str:
        return f"{self.shown} {show_shape(self.shape)} {self.kind}"


@dataclass
class OpenArray:
    """An array that is open, and what its file says of it.

    reversed     its axes are stored the other way round, as MATLAB's are in HDF5
    axis         the axis of bands where the file tells it, as the file's own program counts
    place        the axes of rows and columns where coordinates tell them, else those besides `axis`
    flips        whether rows are stored from south to north, and columns from east to west
    transform    of the regular grid that coordinates tell, north-up; `crs` likewise
    wavelengths  in the unit of the file, one a band
    good         whether each band is of use, where the file tells
    table        columns and rows of the pixels on a grid, from 1, where rows are lines of a swath
    kept         bytes of decompressed chunks that the open file keeps at most
    """

    array: Any
    reversed: bool = False
    file: Any = None
    axis: int | None = None
    place: tuple[int, int] | None = None
    flips: tuple[bool, bool] = (False, False)
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    units: str | None = None
    wavelengths: tuple[float, ...] | None = None
    good: tuple[bool, ...] | None = None
    transform: Affine | None = None
    crs: CRS | None = None
    table: tuple[Any, Any] | None = None
    kept: int = 0
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Close the file behind it."""
        if self.file is not None:
            self.file.close()


def show_shape(shape: tuple[int, ...] | None) -> str:
    """
    >>> show_shape((3, 4)), show_shape(())
    ('3×4', 'scalar')
    """
    return "×".join(str(size) for size in shape or ()) or "scalar"


def name_element(number: int, shape: tuple[int, ...]) -> str:
    """Name the place of an element in a cell or struct array, as MATLAB writes it.

    number  of the element, from 0, column by column

    >>> name_element(2, (1, 5)), name_element(2, (2, 2))
    ('3', '1,2')
    """
    if sum(size > 1 for size in shape) < 2:
        return str(number + 1)
    return ",".join(str(i + 1) for i in np.unravel_index(number, shape, order="F"))


def count_row_bytes(array: Any, axis: int) -> int:
    """Count the bytes of the chunks that a row of windows meets, where `axis` counts rows."""
    counts = [math.ceil(n / c) for n, c in zip(array.shape, array.chunks, strict=True)]
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    return math.prod(counts) // max(counts[axis], 1) * chunk


def to_dense(matrix: Any) -> np.ndarray:
    """Convert a sparse matrix to an array. Raises FileError where it would not fit in memory."""
    rows, columns = matrix.shape
    if rows * columns > _MOST_DENSE:
        raise FileError(f"it has a sparse matrix of {rows}×{columns}, too large for a layer")
    return matrix.toarray()


def find_wavelengths(entry: Entry, lists: Mapping[str, np.ndarray]) -> tuple[float, ...] | None:
    """Find the only list of wavelengths whose length is that of one axis of the array.

    Lists beside the array in its own struct or group come first.

    lists  by key: those whose name is no word for wavelengths are passed over
    """
    fits = {
        key: values.ravel()
        for key, values in lists.items()
        if WAVELENGTHS.search(re.split(r"[./]", key)[-1])
        and values.ndim
        and values.size == max(values.shape)
        and list(entry.shape).count(values.size) == 1
    }
    parent = re.split(r"[./](?=[^./]*$)", entry.key)[0]
    beside = (f"{parent}.", f"{parent}/")
    near = {key: values for key, values in fits.items() if key.startswith(beside)}
    chosen = near or fits
    if len(chosen) != 1:
        return None
    return tuple(float(value) for value in next(iter(chosen.values())))
