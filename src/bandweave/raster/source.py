"""Sources of pixels, whatever the file: windows of values, and facts on the bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bandweave.raster.grid import Grid, Window


@dataclass(frozen=True)
class BandInfo:
    """Facts on the bands of a file. Each tuple has one entry a band, or is None if unknown."""

    wavelengths: tuple[float, ...] | None = None  # nanometres
    units: str | None = None  # of the values, after scale and offset
    names: tuple[str, ...] | None = None
    scales: tuple[float, ...] | None = None
    offsets: tuple[float, ...] | None = None
    numbers: tuple[int, ...] | None = None  # in the file, from 1; None where they are all of it
    factor: float | None = None  # ENVI's reflectance scale factor, by which values were divided
    nominal: tuple[float, ...] | None = None  # nm, of a known sensor by names; NaN: unknown band


class Source(Protocol):
    """Pixels that are read by window."""

    grid: Grid
    bands: int
    dtype: np.dtype  # as stored
    info: BandInfo

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Values (bands, h, w) as float32 with scale and offset applied, and valid (h, w) as bool.

        A pixel is valid where at least one of its bands is neither nodata nor NaN nor infinite.
        Values that are not, and all outside the grid, are 0.
        """
        ...


class WindowSource:
    """A source that reads windows; a subclass writes `read_inside`, for those inside the grid."""

    grid: Grid
    bands: int
    dtype: np.dtype
    info: BandInfo
    nodata: tuple[float | None, ...] = ()  # of each band, as stored; empty for what no file states
    notes: tuple[str, ...] = ()  # what was decided on opening, a sentence each: 'its …'
    control: str = ""  # what places an image without a transform: 'ground control points', …

    def read_inside(self, window: Window) -> np.ndarray:
        """Values (bands, h, w) as float32 with NaN where a band has none."""
        raise NotImplementedError

    def read_nan(self, window: Window) -> np.ndarray:
        """Values (bands, h, w) as float32, NaN where a band is invalid and outside the grid."""
        inside = window.clip(self.grid.height, self.grid.width)
        if inside == window:
            return self.read_inside(window)
        values = np.full((self.bands, window.height, window.width), np.nan, np.float32)
        if inside is not None:
            rows, cols = inside.slices((window.row, window.col))
            values[:, rows, cols] = self.read_inside(inside)
        return values

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Values (bands, h, w) as float32, 0 where invalid, and valid (h, w) as bool."""
        values = self.read_nan(window)
        holes = np.isnan(values)
        valid = ~holes.all(axis=0)
        values[holes] = 0
        return values, valid


def read_nan(source: Source, window: Window) -> np.ndarray:
    """Values (bands, h, w) of any source, NaN where invalid; by band where the source tells."""
    if isinstance(source, WindowSource):
        return source.read_nan(window)
    values, valid = source.read(window)
    return np.where(valid, values, np.float32(np.nan))


def decode(
    raw: np.ndarray,
    nodata: tuple[float | None, ...],
    scales: tuple[float, ...] | None = None,
    offsets: tuple[float, ...] | None = None,
) -> np.ndarray:
    """Stored values (bands, h, w) as float32 with scale and offset applied, NaN where invalid.

    Nodata is compared in the stored dtype, so that no rounding hides or invents a hole.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = raw.astype(np.float32)
        if scales is not None or offsets is not None:
            scale = np.asarray(scales or np.ones(len(raw)), np.float64)
            offset = np.asarray(offsets or np.zeros(len(raw)), np.float64)
            for band in np.flatnonzero((scale != 1) | (offset != 0)):
                values[band] = raw[band] * scale[band] + offset[band]
    for i, hole in enumerate(nodata):
        if hole is not None and not np.isnan(hole):
            values[i][_equals(raw[i], hole)] = np.nan
    if raw.dtype.kind == "f" or scales is not None or offsets is not None:
        values[~np.isfinite(values)] = np.nan
    return values


def _equals(stored: np.ndarray, value: float) -> np.ndarray:
    if stored.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return stored == np.asarray(value).astype(stored.dtype)
    if stored.dtype.kind == "b":
        return stored == bool(value) if value in (0, 1) else np.zeros(stored.shape, bool)
    limits = np.iinfo(stored.dtype)
    if value == float(limits.max):  # as a number with a point, which is one too large for 64 bits
        return stored == limits.max
    if value != int(value) or not limits.min <= value <= limits.max:
        return np.zeros(stored.shape, bool)
    return stored == stored.dtype.type(int(value))
