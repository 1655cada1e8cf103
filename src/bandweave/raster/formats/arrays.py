"""Sources whose pixels are arrays: in memory, or in files of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bandweave.errors import FileError
from bandweave.raster.bands import ranges, stack_bands, to_nanometres
from bandweave.raster.formats.handles import get_handle, read_stamp
from bandweave.raster.formats.slabs import read_from_rows
from bandweave.raster.formats.stored import NUMBERS, OpenArray, count_row_bytes, show_shape
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.source import BandInfo, WindowSource, decode

if TYPE_CHECKING:
    from bandweave.raster.formats.array_files import ArrayReader
    from bandweave.raster.reader import Request


class ArraySource(WindowSource):
    """Pixels of an array in memory, (bands, H, W) or (H, W).

    nodata   the value of a hole in every band; NaN and infinite values are holes anyway
    """

    def __init__(
        self,
        values: np.ndarray,
        grid: Grid | None = None,
        *,
        nodata: float | None = None,
        info: BandInfo | None = None,
    ) -> None:
        values = values[None] if values.ndim == 2 else values
        if values.ndim != 3:
            raise ValueError(f"an array of shape {values.shape} is not (bands, H, W)")
        self.grid = grid or Grid(values.shape[1], values.shape[2], PIXELS)
        if values.shape[1:] != (self.grid.height, self.grid.width):
            raise ValueError(f"an array of shape {values.shape} does not fit the grid {self.grid}")
        self.bands = len(values)
        self.dtype = values.dtype
        self.info = info or BandInfo()
        self.nodata = (nodata,) * self.bands
        self._values = values

    def read_inside(self, window: Window) -> np.ndarray:
        rows, cols = window.slices()
        raw = np.asarray(self._values[:, rows, cols])
        return decode(raw, self.nodata, self.info.scales, self.info.offsets)


class StoredArraySource(WindowSource):
    """An array of a file: NumPy, MATLAB or HDF5, whatever the place of its band axis.

    .npy and HDF5 are read by window; a .mat v5 and a .npz are compressed as a whole and stay in
    memory. The file is opened anew in every thread and process.

    A cube is refused where neither the request, nor the file, nor the request's shape tells which
    axis counts bands.
    """

    def __init__(self, reader: ArrayReader, path: Path, request: Request) -> None:
        self.path, self.key, self._reader = path, request.key, reader
        key, axis, chosen = request.key, request.axis, request.bands
        self._stamp = read_stamp(str(path))
        opened = self._get_array()
        array = opened.array
        shape_stored = array.shape or ()
        name = _name_array(path, key)
        sizes = [size for size in shape_stored if size != 1]
        if (
            array.dtype.kind not in NUMBERS
            or len(shape_stored) < 2
            or 0 in sizes
            or (len(shape_stored) > 3 and len(sizes) > 3)
        ):
            raise FileError(
                f"{name} is {show_shape(shape_stored)} of {array.dtype}; "
                "a layer is 2-D or 3-D and of real numbers"
            )
        notes = list(opened.notes)
        self._axes = _find_axes(name, opened, axis, request.shape, notes)
        self._placed = opened.place is None or self._axes[-2:] == opened.place
        total = 1 if len(self._axes) == 2 else shape_stored[self._axes[0]]
        if chosen is None and opened.good is not None and axis is None:
            chosen = _pick_good_bands(opened.good, notes)
        self._chosen = tuple(chosen) if chosen is not None else None
        if self._chosen is not None and not all(0 <= i < total for i in self._chosen):
            raise FileError(
                f"{name} has {total} bands, not {max(self._chosen) + 1}; bands count from 1"
            )
        self.bands = total if self._chosen is None else len(self._chosen)
        self.dtype = array.dtype
        height, width = (shape_stored[i] for i in self._axes[-2:])
        if opened.table is not None:
            height, width = opened.table[0].shape
        transform, crs = (opened.transform, opened.crs) if self._placed else (None, None)
        self.grid = Grid(height, width, transform or PIXELS, crs)
        self.info = _read_info(opened, total, self._chosen)
        self.nodata = (opened.nodata if request.nodata is None else request.nodata,) * self.bands
        self.notes = tuple(notes)

    def _open_array(self, path: str) -> OpenArray:
        return self._reader.open_array(Path(path), self.key)

    def _get_array(self) -> OpenArray:
        return get_handle(f"{self.path}", hash((self._stamp, self.key)), self._open_array)

    def read_inside(self, window: Window) -> np.ndarray:
        try:
            table = self._get_array().table
            raw = self._read_stored(window) if table is None else self._look_up(window, table)
        except (OSError, ValueError, RuntimeError, IndexError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise FileError(
                f"{_name_array(self.path, self.key)} cannot be read: {reason}"
            ) from error
        values = decode(raw, self.nodata, self.info.scales, self.info.offsets)
        if table is not None:
            values[:, ~self._has_table(window, table)] = np.nan
        return values

    def _read_stored(self, window: Window) -> np.ndarray:
        """Read pixels (bands, h, w) as the file has them, whatever their order there."""
        opened = self._get_array()
        flips = opened.flips if self._placed and opened.table is None else (False, False)
        row, col, height, width = window
        if flips[0]:
            row = opened.array.shape[self._axes[-2]] - row - height
        if flips[1]:
            col = opened.array.shape[self._axes[-1]] - col - width
        raw = self._read_rows(opened, Window(row, col, height, width))
        return raw[:, :: -1 if flips[0] else 1, :: -1 if flips[1] else 1]

    def _read_rows(self, opened: OpenArray, window: Window) -> np.ndarray:
        """Read pixels (bands, h, w) in the file's own direction; wide chunks by whole rows."""
        array, rows = opened.array, self._axes[-2]
        if not getattr(array, "chunks", None) or count_row_bytes(array, rows) <= opened.kept:
            return self._slice(array, window)
        size = array.shape[rows], array.shape[self._axes[-1]]
        return read_from_rows(
            (self.path, self._stamp, self.key, self._axes, self._chosen),
            window,
            size,
            self.bands * size[1] * array.dtype.itemsize,
            array.chunks[rows],
            lambda whole: self._slice(array, whole),
        )

    def _slice(self, array: Any, window: Window) -> np.ndarray:
        """Read pixels (bands, h, w) of the chosen bands."""
        rows, cols = window.slices()
        wanted: list[slice] = [slice(None)] * array.ndim
        wanted[self._axes[-2]], wanted[self._axes[-1]] = rows, cols
        first = 0
        if self._chosen is not None and len(self._axes) == 3:
            first = min(self._chosen)
            wanted[self._axes[0]] = slice(first, max(self._chosen) + 1)
        single = tuple(axis for axis in range(array.ndim) if axis not in self._axes)
        raw = np.asarray(array[tuple(wanted)]).transpose(single + self._axes)
        raw = raw.reshape(-1, window.height, window.width)
        if self._chosen is not None and len(self._axes) == 3:
            raw = raw[[i - first for i in self._chosen]]
        return raw

    def _look_up(self, window: Window, table: tuple[Any, Any]) -> np.ndarray:
        """Read pixels (bands, h, w) of a grid whose table names row and column of each, from 1."""
        rows, cols = window.slices()
        col, row = (np.abs(np.asarray(one[rows, cols])).astype(np.int64) for one in table)
        has = (col > 0) & (row > 0)
        raw = np.zeros((self.bands, window.height, window.width), self.dtype)
        if has.any():
            top, left = int(row[has].min()) - 1, int(col[has].min()) - 1
            needed = Window(top, left, int(row[has].max()) - top, int(col[has].max()) - left)
            raw[:, has] = self._read_stored(needed)[:, row[has] - 1 - top, col[has] - 1 - left]
        return raw

    def _has_table(self, window: Window, table: tuple[Any, Any]) -> np.ndarray:
        rows, cols = window.slices()
        return np.all([np.asarray(one[rows, cols]) != 0 for one in table], axis=0)


def _find_axes(
    name: str,
    opened: OpenArray,
    axis: int | None,
    shape: tuple[int, int] | None,
    notes: list[str],
) -> tuple[int, ...]:
    """Find the axes of bands (in 3-D alone), rows and columns, as the array is stored.

    An array of more dimensions has some of size 1, which count for nothing.
    """
    stored = opened.array.shape
    order = [i for i in range(len(stored)) if len(stored) <= 3 or stored[i] > 1]
    if (missing := 2 - len(order)) > 0:  # rows or columns of size 1
        order = sorted([*order, *[i for i in range(len(stored)) if i not in order][-missing:]])
    if opened.reversed:
        order.reverse()
    if len(order) == 2:
        return opened.place or (order[0], order[1])
    seen = tuple(stored[i] for i in order)  # as MATLAB or NumPy shows it
    known = order.index(opened.axis) if opened.axis is not None else None
    band = order[_find_band_axis(name, seen, opened, known, axis, shape, notes)]
    if opened.place is not None and band not in opened.place:
        return (band, *opened.place)
    return (band, *(i for i in order if i != band))


def _find_band_axis(
    name: str,
    seen: tuple[int, ...],
    opened: OpenArray,
    known: int | None,
    axis: int | None,
    shape: tuple[int, int] | None,
    notes: list[str],
) -> int:
    """Find the axis of bands: stated, known from the file, told by a shape or list, or guessed.

    Raises FileError for a cube whose axis could as well be another one.
    """
    if axis is not None:
        return axis % 3
    if known is not None:
        return known
    exact = _axes_that_leave(seen, shape)
    if len(exact) == 1:
        return exact[0]
    listed = opened.wavelengths
    if listed is not None and list(seen).count(len(listed)) == 1:
        return seen.index(len(listed))
    found = guess_band_axis(seen, shape)
    if found is None:
        choices = " or ".join(
            f"`axis: {i}` ({bands} band{'s' * (bands != 1)} of "
            f"{show_shape((*seen[:i], *seen[i + 1 :]))} px)"
            for i, bands in enumerate(seen)
        )
        raise FileError(
            f"{name} is {show_shape(seen)}; which axis counts its bands? State {choices}"
        )
    if shape is None and 2 * seen[found] > sorted(seen)[1]:
        size = show_shape((*seen[:found], *seen[found + 1 :]))
        notes.append(
            f"{show_shape(seen)} taken for {seen[found]} bands of {size} px; `axis:` says otherwise"
        )
    return found


def _pick_good_bands(good: Sequence[bool], notes: list[str]) -> list[int] | None:
    """Pick the bands that a product does not mark as bad; None for all of them."""
    left_out = [i + 1 for i, mark in enumerate(good) if not mark]
    if not left_out or len(left_out) == len(good):
        return None
    notes.append(
        f"{len(left_out)} of {len(good)} bands left out as the product marks them bad: "
        f"{ranges(left_out)}; `bands:` overrules it"
    )
    return [i for i, mark in enumerate(good) if mark]


def _read_info(opened: OpenArray, total: int, chosen: Sequence[int] | None) -> BandInfo:
    """Read the facts on the chosen bands."""
    picked = range(total) if chosen is None else chosen
    wavelengths = opened.wavelengths
    if wavelengths is not None and len(wavelengths) == total:
        wavelengths = to_nanometres([wavelengths[i] for i in picked])
    else:
        wavelengths = None
    count = len(picked)
    return BandInfo(
        wavelengths=wavelengths,
        units=opened.units,
        scales=(opened.scale,) * count if opened.scale != 1 else None,
        offsets=(opened.offset,) * count if opened.offset != 0 else None,
        numbers=tuple(i + 1 for i in picked) if chosen is not None else None,
    )


class StackedSource(WindowSource):
    """Bands of several sources of one grid, one behind the other."""

    def __init__(self, sources: Sequence[WindowSource]) -> None:
        self.sources = tuple(sources)
        self.grid = sources[0].grid
        self.bands = sum(source.bands for source in sources)
        self.dtype = np.result_type(*(source.dtype for source in sources))
        self.info = stack_bands([s.info for s in sources], [s.bands for s in sources])
        self.nodata = tuple(value for source in sources for value in source.nodata)
        self.notes = tuple(dict.fromkeys(note for source in sources for note in source.notes))
        self.control = next((source.control for source in sources if source.control), "")

    def read_inside(self, window: Window) -> np.ndarray:
        return np.concatenate([source.read_nan(window) for source in self.sources])


def guess_band_axis(shape: tuple[int, ...], reference: tuple[int, int] | None = None) -> int | None:
    """Guess which axis of a 3-D array counts bands; None where nothing tells.

    With a reference (rows, columns): the only one that leaves the reference's shape or, failing
    that, a whole multiple of it. Otherwise the shortest, if it is the first or the last and no
    other is as short.
    """
    if reference is not None:
        multiples = [
            axis for axis in range(3) if _is_multiple(shape[:axis] + shape[axis + 1 :], reference)
        ]
        for fits in (_axes_that_leave(shape, reference), multiples):
            if fits:
                return fits[0] if len(fits) == 1 else None
    shortest = min(shape)
    if shape.count(shortest) > 1 or shape[1] == shortest:
        return None
    return shape.index(shortest)


def _axes_that_leave(shape: tuple[int, ...], reference: tuple[int, int] | None) -> list[int]:
    """The axes of a 3-D array without which it has the reference's rows and columns."""
    return [axis for axis in range(3) if shape[:axis] + shape[axis + 1 :] == reference]


def _is_multiple(size: tuple[int, ...], reference: tuple[int, int]) -> bool:
    (rows, cols), (height, width) = size, reference
    return rows % height == 0 and cols % width == 0 and rows // height == cols // width


def _name_array(path: Path, key: str | None) -> str:
    return f"{path}:{key}" if key else str(path)
