"""Sources whose pixels are arrays: in memory, in .npy files, in MATLAB files of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.errors import FileError
from bandweave.raster import bands as band_facts
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
    """An array of a .npy or .mat file, whatever the place of its band axis.

    .npy and HDF5 (.mat v7.3) are read by window; a .mat v5 is compressed as a whole and stays in
    memory. The file is opened anew in every thread and process.
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
        self._kind = _kind(path)
        self._stamp = stamp(str(path))
        opened = self._opened()
        array = opened.array
        if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or 0 in array.shape:
            raise FileError(
                f"{_named(path, key)} is {_shape(array.shape)} of {array.dtype}; "
                "a layer is 2-D or 3-D and of real numbers"
            )
        order = tuple(reversed(range(array.ndim))) if opened.reversed else tuple(range(array.ndim))
        seen = tuple(array.shape[i] for i in order)  # as MATLAB or NumPy shows it
        self._axes: tuple[int, ...] = order  # of bands, rows and columns; of rows and columns
        if array.ndim == 3:
            band = band_axis(seen, shape) if axis is None else axis % 3
            rows, cols = (i for i in range(3) if i != band)
            self._axes = (order[band], order[rows], order[cols])
        sizes = [array.shape[i] for i in self._axes]
        self._chosen = tuple(chosen) if chosen is not None else None
        total = sizes[0] if array.ndim == 3 else 1
        if self._chosen is not None and not all(0 <= i < total for i in self._chosen):
            raise FileError(
                f"{_named(path, key)} has {total} bands, not {max(self._chosen) + 1}; "
                "bands count from 1"
            )
        self.bands = total if self._chosen is None else len(self._chosen)
        self.dtype = array.dtype
        self.grid = Grid(sizes[-2], sizes[-1], PIXELS)
        self.info = BandInfo()
        self.nodata = (nodata,) * self.bands

    def _open(self, path: str) -> Any:
        return _OPENERS[self._kind](Path(path), self.key)

    def _opened(self) -> _Opened:
        return handle(f"{self.path}", hash((self._stamp, self.key)), self._open)

    def _inside(self, window: Window) -> np.ndarray:
        array = self._opened().array
        rows, cols = window.slices()
        wanted: list[slice] = [slice(None)] * array.ndim
        wanted[self._axes[-2]], wanted[self._axes[-1]] = rows, cols
        first = 0
        if array.ndim == 3 and self._chosen is not None:
            first = min(self._chosen)
            wanted[self._axes[0]] = slice(first, max(self._chosen) + 1)
        try:
            raw = np.asarray(array[tuple(wanted)]).transpose(self._axes)
        except (OSError, ValueError) as error:
            raise FileError(f"{_named(self.path, self.key)} cannot be read: {error}") from error
        raw = raw if array.ndim == 3 else raw[None]
        if array.ndim == 3 and self._chosen is not None:
            raw = raw[[i - first for i in self._chosen]]
        return decode(raw, self.nodata)


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


def band_axis(shape: tuple[int, ...], reference: tuple[int, int] | None = None) -> int:
    """The axis of a 3-D array that counts bands: the first or the last.

    With a reference (rows, columns): the one that leaves the reference's shape or a whole multiple
    of it, if only one does. Otherwise the smaller; of two equal, the last, as MATLAB's cubes are.
    """
    if reference is not None:
        left = {0: shape[1:], 2: shape[:2]}
        for fits in (
            [axis for axis, size in left.items() if size == reference],
            [axis for axis, size in left.items() if _multiple(size, reference)],
        ):
            if len(fits) == 1:
                return fits[0]
    return 0 if shape[0] < shape[2] else 2


def _multiple(size: tuple[int, ...], reference: tuple[int, int]) -> bool:
    (rows, cols), (height, width) = size, reference
    return rows % height == 0 and cols % width == 0 and rows // height == cols // width


class _Opened:
    """An array that is open; `reversed` where its axes are stored the other way round."""

    def __init__(self, array: Any, reversed_axes: bool = False, file: Any = None) -> None:
        self.array, self.reversed, self._file = array, reversed_axes, file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _open_npy(path: Path, key: str | None) -> _Opened:
    try:
        return _Opened(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"{path} is no readable NumPy array: {error}") from error


def _open_mat(path: Path, key: str | None) -> _Opened:
    import scipy.io

    try:
        found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
        name = _choose(path, key, found)
        return _Opened(scipy.io.loadmat(path, variable_names=[name])[name])
    except FileError:
        raise
    except Exception as error:  # scipy's reader raises whatever the damage leads to
        raise FileError(
            f"{path} is no readable MATLAB file, it is damaged or of another kind: {error}"
        ) from error


def _open_hdf5(path: Path, key: str | None) -> _Opened:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileError(f"{path} is no readable MATLAB 7.3 file: {error}") from error
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    matlab = _head(path).startswith(b"MATLAB")

    def backwards(dataset: Any) -> bool:
        return matlab or "MATLAB_class" in dataset.attrs

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            shape = item.shape[::-1] if backwards(item) else item.shape
            kind = item.attrs.get("MATLAB_class", str(item.dtype))
            found[name] = (shape, kind.decode() if isinstance(kind, bytes) else str(kind))

    try:
        file.visititems(visit)
        dataset = file[_choose(path, key, found)]
    except FileError:
        file.close()
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        file.close()
        raise FileError(f"{path} is a damaged MATLAB 7.3 file: {error}") from error
    return _Opened(dataset, backwards(dataset), file)


_OPENERS = {"npy": _open_npy, "mat": _open_mat, "hdf5": _open_hdf5}


def _choose(path: Path, key: str | None, found: dict[str, tuple[tuple[int, ...], str]]) -> str:
    """The key asked for, or the only one that can be a layer."""
    listing = ", ".join(f"{name} {_shape(shape)} {kind}" for name, (shape, kind) in found.items())
    if key is not None:
        if key not in found:
            raise FileError(f"{path} has no key {key!r}; it has {listing or 'none'}")
        return key
    likely = [
        name
        for name, (shape, kind) in found.items()
        if len(shape) in (2, 3)
        and min(shape) > 0
        and sum(size > 1 for size in shape) >= 2
        and kind not in ("char", "cell", "struct", "object", "opaque", "function", "sparse")
    ]
    if len(likely) != 1:
        raise FileError(
            f"{path} has {len(likely)} arrays that could be a layer; "
            f"choose one with `key`: {listing or 'it is empty'}"
        )
    return likely[0]


def _kind(path: Path) -> str:
    head = _head(path)
    if head.startswith(b"\x93NUMPY") or path.suffix.lower() == ".npy":
        return "npy"
    if head.startswith((b"MATLAB 7.3", b"\x89HDF\r\n\x1a\n")):
        return "hdf5"
    return "mat"


def is_stored_array(path: Path) -> bool:
    """The file is for `StoredArraySource`, by its first bytes or, failing that, its name."""
    head = _head(path)
    return head.startswith((b"\x93NUMPY", b"MATLAB ")) or path.suffix.lower() in (".npy", ".mat")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(128)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) or "scalar"


def _named(path: Path, key: str | None) -> str:
    return f"{path}:{key}" if key else str(path)
