"""Sources whose pixels are arrays: in memory, or in files of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.errors import FileError
from bandweave.raster import bands as band_facts
from bandweave.raster.array_files import OpenArray, open_array, show_shape
from bandweave.raster.grid import PIXELS, Grid, Window
from bandweave.raster.handles import handle, stamp
from bandweave.raster.source import BandInfo, WindowSource, decode


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

    def _inside(self, window: Window) -> np.ndarray:
        rows, cols = window.slices()
        raw = np.asarray(self._values[:, rows, cols])
        return decode(raw, self.nodata, self.info.scales, self.info.offsets)


class StoredArraySource(WindowSource):
    """An array of a file: NumPy, MATLAB or HDF5, whatever the place of its band axis.

    .npy and HDF5 are read by window; a .mat v5 and a .npz are compressed as a whole and stay in
    memory. The file is opened anew in every thread and process.

    axis   which axis counts bands; where it is None and nothing tells, a cube is refused
    shape  rows and columns of the reference grid, if known, which may tell
    """

    def __init__(
        self,
        path: Path,
        key: str | None,
        *,
        axis: int | None = None,
        shape: tuple[int, int] | None = None,
        chosen: Sequence[int] | None = None,
        nodata: float | None = None,
    ) -> None:
        self.path, self.key = path, key
        self._stamp = stamp(str(path))
        opened = self._opened()
        array = opened.array
        name = _named(path, key)
        if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or 0 in array.shape:
            raise FileError(
                f"{name} is {show_shape(array.shape)} of {array.dtype}; "
                "a layer is 2-D or 3-D and of real numbers"
            )
        order = tuple(reversed(range(array.ndim))) if opened.reversed else tuple(range(array.ndim))
        seen = tuple(array.shape[i] for i in order)  # as MATLAB or NumPy shows it
        notes = list(opened.notes)
        self._axes: tuple[int, ...] = order  # of bands, rows and columns; of rows and columns
        if array.ndim == 3:
            band = _band_axis_of(name, seen, opened, axis, shape, notes)
            rows, cols = (i for i in range(3) if i != band)
            self._axes = (order[band], order[rows], order[cols])
        sizes = [array.shape[i] for i in self._axes]
        self._chosen = tuple(chosen) if chosen is not None else None
        total = sizes[0] if array.ndim == 3 else 1
        if self._chosen is not None and not all(0 <= i < total for i in self._chosen):
            raise FileError(
                f"{name} has {total} bands, not {max(self._chosen) + 1}; bands count from 1"
            )
        self.bands = total if self._chosen is None else len(self._chosen)
        self.dtype = array.dtype
        self.grid = Grid(sizes[-2], sizes[-1], opened.transform or PIXELS, opened.crs)
        if opened.table is not None:
            height, width = opened.table[0].shape
            self.grid = Grid(height, width, opened.transform or PIXELS, opened.crs)
        self.info = _info(opened, total, self._chosen)
        self.nodata = (opened.nodata if nodata is None else nodata,) * self.bands
        self.notes = tuple(notes)

    def _open(self, path: str) -> OpenArray:
        return open_array(Path(path), self.key)

    def _opened(self) -> OpenArray:
        return handle(f"{self.path}", hash((self._stamp, self.key)), self._open)

    def _inside(self, window: Window) -> np.ndarray:
        try:
            table = self._opened().table
            raw = self._stored(window) if table is None else self._looked_up(window, table)
        except (OSError, ValueError, RuntimeError) as error:
            raise FileError(f"{_named(self.path, self.key)} cannot be read: {error}") from error
        values = decode(raw, self.nodata, self.info.scales, self.info.offsets)
        if table is not None:
            values[:, ~self._has_table(window, table)] = np.nan
        return values

    def _stored(self, window: Window) -> np.ndarray:
        """Pixels (bands, h, w) as the file has them, whatever their order there."""
        array = self._opened().array
        rows, cols = window.slices()
        wanted: list[slice] = [slice(None)] * array.ndim
        wanted[self._axes[-2]], wanted[self._axes[-1]] = rows, cols
        first = 0
        if array.ndim == 3 and self._chosen is not None:
            first = min(self._chosen)
            wanted[self._axes[0]] = slice(first, max(self._chosen) + 1)
        raw = np.asarray(array[tuple(wanted)]).transpose(self._axes)
        raw = raw if array.ndim == 3 else raw[None]
        if array.ndim == 3 and self._chosen is not None:
            raw = raw[[i - first for i in self._chosen]]
        return raw

    def _looked_up(self, window: Window, table: tuple[Any, Any]) -> np.ndarray:
        """Pixels (bands, h, w) of a grid whose table names row and column of each, from 1."""
        rows, cols = window.slices()
        col, row = (np.abs(np.asarray(one[rows, cols])).astype(np.int64) for one in table)
        has = (col > 0) & (row > 0)
        raw = np.zeros((self.bands, window.height, window.width), self.dtype)
        if has.any():
            top, left = int(row[has].min()) - 1, int(col[has].min()) - 1
            needed = Window(top, left, int(row[has].max()) - top, int(col[has].max()) - left)
            raw[:, has] = self._stored(needed)[:, row[has] - 1 - top, col[has] - 1 - left]
        return raw

    def _has_table(self, window: Window, table: tuple[Any, Any]) -> np.ndarray:
        rows, cols = window.slices()
        return np.all([np.asarray(one[rows, cols]) != 0 for one in table], axis=0)


def _band_axis_of(
    name: str,
    seen: tuple[int, ...],
    opened: OpenArray,
    axis: int | None,
    shape: tuple[int, int] | None,
    notes: list[str],
) -> int:
    """The axis of bands: stated, known from the file, told by a shape or list, or guessed aloud.

    Raises FileError for a cube whose axis could as well be another one.
    """
    if axis is not None:
        return axis % 3
    if opened.axis is not None:
        return opened.axis
    listed = opened.wavelengths
    if listed is not None and list(seen).count(len(listed)) == 1:
        return seen.index(len(listed))
    found = band_axis(seen, shape)
    if found is None:
        choices = " or ".join(
            f"`axis: {i}` ({seen[i]} bands of {show_shape((*seen[:i], *seen[i + 1 :]))} px)"
            for i in range(3)
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


def _info(opened: OpenArray, total: int, chosen: Sequence[int] | None) -> BandInfo:
    """What the file says of the chosen bands."""
    picked = range(total) if chosen is None else chosen
    wavelengths = opened.wavelengths
    if wavelengths is not None and len(wavelengths) == total:
        wavelengths = band_facts.nanometres([wavelengths[i] for i in picked])
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
        self.info = band_facts.stack([s.info for s in sources], [s.bands for s in sources])
        self.nodata = tuple(value for source in sources for value in source.nodata)

    def _inside(self, window: Window) -> np.ndarray:
        return np.concatenate([source.read_nan(window) for source in self.sources])


def band_axis(shape: tuple[int, ...], reference: tuple[int, int] | None = None) -> int | None:
    """The axis of a 3-D array that counts bands; None where nothing tells.

    With a reference (rows, columns): the one that leaves the reference's shape or a whole multiple
    of it, the last where several do, as MATLAB's cubes are. Otherwise the shortest, if it is the
    first or the last and no other is as short.
    """
    if reference is not None:
        left = {axis: shape[:axis] + shape[axis + 1 :] for axis in range(3)}
        for fits in (
            [axis for axis, size in left.items() if size == reference],
            [axis for axis, size in left.items() if _is_multiple(size, reference)],
        ):
            if fits:
                return fits[-1]
    shortest = min(shape)
    if shape.count(shortest) > 1 or shape[1] == shortest:
        return None
    return shape.index(shortest)


def _is_multiple(size: tuple[int, ...], reference: tuple[int, int]) -> bool:
    (rows, cols), (height, width) = size, reference
    return rows % height == 0 and cols % width == 0 and rows // height == cols // width


def _named(path: Path, key: str | None) -> str:
    return f"{path}:{key}" if key else str(path)
