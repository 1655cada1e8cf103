"""Whole rows of a file that stay in memory, where a window meets most of the file.

A chunk or strip of a whole band is decompressed as a whole for each window. Windows come in rows,
so that rows which are read once, at full width, serve many of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from bandweave.raster.grid import Window

SLAB = 256 * 2**20  # bytes of a file that are kept at most
MOST_BYTES = 2 * SLAB  # that a thread keeps of all its files

_local = threading.local()


@dataclass
class _Kept:
    """The row of the last window of a file, and rows (bands, rows, columns) from `first` on."""

    last: int | None = None
    first: int = 0
    values: np.ndarray | None = None

    def cut(self, window: Window) -> np.ndarray | None:
        """A window of the rows; None where they do not hold it."""
        if self.values is None or window.row < self.first:
            return None
        rows, cols = window.slices((self.first, 0))
        return self.values[:, rows, cols] if rows.stop <= self.values.shape[1] else None


def read_from_rows(
    name: Hashable,
    window: Window,
    size: tuple[int, int],
    row_bytes: int,
    step: int,
    read: Callable[[Window], np.ndarray],
) -> np.ndarray:
    """Pixels (bands, h, w) of a window, cut from rows that are read together where that pays.

    It pays where all of the file can be kept, and for the second of several windows in a row.

    name       of what is read; `size` its rows and columns, `row_bytes` the bytes of a row
    step       rows of a chunk or strip
    read       reads a window from the file
    """
    height, width = size
    files: OrderedDict[Hashable, _Kept] = _local.__dict__.setdefault("files", OrderedDict())
    kept = files.setdefault(name, _Kept())
    files.move_to_end(name)
    whole = height * row_bytes <= SLAB
    rows = height if whole else SLAB // row_bytes
    repeated = kept.last == window.row
    kept.last = window.row
    found = kept.cut(window)
    if found is not None:
        return found
    if rows < window.height or not (whole or repeated):
        return read(window)
    first = 0 if whole else window.row - window.row % step
    if first + rows < window.row + window.height:
        first = window.row
    kept.values = None  # before the next rows take its memory
    kept.first = first
    kept.values = read(Window(first, 0, min(rows, height - first), width))
    while len(files) > 1 and sum(_bytes(one) for one in files.values()) > MOST_BYTES:
        files.popitem(last=False)
    return kept.values[:, window.row - first :, window.col :][:, : window.height, : window.width]


def _bytes(kept: _Kept) -> int:
    return 0 if kept.values is None else kept.values.nbytes
