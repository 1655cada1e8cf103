"""A source on another grid: other resolution, extent or CRS."""

from __future__ import annotations

import math

import numpy as np
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject
from rasterio.warp import transform as warp_points

from bandweave.errors import ConfigError, GridMismatch
from bandweave.raster.grid import Grid, Window
from bandweave.raster.source import Source, WindowSource, read_nan

RESAMPLINGS = {  # name: pixels of the source the kernel reaches to each side
    "nearest": 1,
    "bilinear": 1,
    "cubic": 2,
    "lanczos": 3,
    "average": 1,
    "mode": 1,
}
_MOST = 2**27  # values of a source that are read at once
_LOCAL = "EPSG:3857"  # stands for the CRS of two grids without one: any metric one is the identity


class WarpedSource(WindowSource):
    """Pixels of `source` on `grid`, warped by GDAL window by window.

    Any two windows agree where they overlap, to 1e-4 of the range of the values. Holes stay holes:
    a pixel draws only on valid values, and has none where all that its kernel meets are invalid.

    source      any source, with a transform
    grid        where the pixels shall lie; with a CRS if the source has one
    resampling  'nearest', 'bilinear', 'cubic', 'lanczos', 'average' or 'mode'; where the grid is
                coarser, the first excepted, the kernels widen with the ratio

    Raises GridMismatch where a transform is missing, only one of the two has a CRS, or they do not
    overlap; ConfigError for another resampling.
    """

    def __init__(self, source: Source, grid: Grid, resampling: str) -> None:
        if resampling not in RESAMPLINGS:
            raise ConfigError(f"`warp` is {resampling!r}; it is one of {', '.join(RESAMPLINGS)}")
        _check(source.grid, grid)
        self.source, self.grid, self.resampling = source, grid, resampling
        self.bands, self.dtype, self.info = source.bands, source.dtype, source.info
        self._shrink = _measure_pixels(source.grid, grid)
        if self._find_source_window(grid.window) is None:
            raise GridMismatch(
                f"the layer covers {_say_extent(source.grid)} and the grid {_say_extent(grid)} "
                f"({grid.crs or 'no CRS'}): they do not overlap"
            )

    def read_inside(self, window: Window) -> np.ndarray:
        values = np.full((self.bands, window.height, window.width), np.nan, np.float32)
        needed = self._find_source_window(window)
        if needed is None:
            return values
        large = needed.height * needed.width * self.bands > _MOST
        if large and max(window.height, window.width) > 1:
            for half in _halve(window):
                rows, cols = half.slices((window.row, window.col))
                values[:, rows, cols] = self.read_inside(half)
            return values
        given = read_nan(self.source, needed)
        holes = np.isnan(given)
        together = bool((holes == holes[:1]).all())  # else each band has holes of its own
        for bands in [slice(None)] if together else [slice(i, i + 1) for i in range(self.bands)]:
            self._warp(given[bands], needed, values[bands], window)
        return values

    def _warp(self, given: np.ndarray, needed: Window, values: np.ndarray, window: Window) -> None:
        here, there = self.source.grid.crop(needed), self.grid.crop(window)
        reproject(
            given,
            values,
            src_transform=here.transform,
            src_crs=here.crs or _LOCAL,
            src_nodata=math.nan,
            dst_transform=there.transform,
            dst_crs=there.crs or _LOCAL,
            dst_nodata=math.nan,
            resampling=Resampling[self.resampling],
            num_threads=1,
            XSCALE=1 / self._shrink[0],  # GDAL's own guess would depend on the window
            YSCALE=1 / self._shrink[1],
            SOURCE_EXTRA=8,
        )

    def _find_source_window(self, window: Window) -> Window | None:
        """Find the pixels of the source that a window of the grid draws on; None if it has none."""
        edge_rows = _list_steps(window.row, window.height)
        edge_cols = _list_steps(window.col, window.width)
        rows, cols = (axis.ravel() for axis in np.meshgrid(edge_rows, edge_cols, indexing="ij"))
        source_rows, source_cols = _project(self.grid, self.source.grid, rows, cols)
        finite = np.isfinite(source_rows) & np.isfinite(source_cols)
        if not finite.any():
            return None
        reach = RESAMPLINGS[self.resampling]
        margins = [math.ceil(reach * max(shrink, 1)) + 2 for shrink in self._shrink]
        top = max(math.floor(source_rows[finite].min()), 0) - margins[1]
        left = max(math.floor(source_cols[finite].min()), 0) - margins[0]
        bottom = min(math.ceil(source_rows[finite].max()), self.source.grid.height) + margins[1]
        right = min(math.ceil(source_cols[finite].max()), self.source.grid.width) + margins[0]
        wanted = Window(top, left, bottom - top, right - left)  # holes around the source's edges
        overlaps = wanted.clip(self.source.grid.height, self.source.grid.width) is not None
        return wanted if overlaps and min(wanted.height, wanted.width) > 0 else None


def _check(source: Grid, grid: Grid) -> None:
    if not (source.georeferenced and grid.georeferenced):
        raise GridMismatch(
            f"the layer is {source}, the grid {grid}, and "
            f"{'the grid' if source.georeferenced else 'the layer'} has no transform to warp by; "
            "bring them to one size first, or state a `ratio`"
        )
    if (source.crs is None) != (grid.crs is None):
        raise GridMismatch(
            f"{'the layer' if source.crs is None else 'the grid'} has no CRS and the other has "
            f"{source.crs or grid.crs}; state it with `crs:`"
        )


def _project(
    grid: Grid, other: Grid, rows: np.ndarray, cols: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Project rows and columns to those of `other` that lie where those of `grid` do."""
    t = grid.transform
    x, y = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
    if grid.crs is not None and other.crs is not None and grid.crs != other.crs:
        x, y = (np.asarray(axis) for axis in warp_points(grid.crs, other.crs, x, y))
    back: Affine = ~other.transform
    return back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c


def _measure_pixels(source: Grid, grid: Grid) -> tuple[float, float]:
    """Measure the columns and rows of the source that a pixel in the middle of the grid spans."""
    row, col = grid.height / 2, grid.width / 2
    rows, cols = _project(
        grid, source, np.array([row, row, row + 1]), np.array([col, col + 1, col])
    )
    if not (np.isfinite(rows).all() and np.isfinite(cols).all()):
        raise GridMismatch(
            f"the grid's CRS {grid.crs} and the layer's {source.crs} share no ground here: "
            "check the `crs:` that was stated"
        )
    across, down = (np.hypot(rows[i] - rows[0], cols[i] - cols[0]) for i in (1, 2))
    return float(across), float(down)


def _list_steps(first: int, length: int) -> np.ndarray:
    """Some positions from one end to the other, so that curved edges are followed."""
    return np.linspace(first, first + length, 21)


def _halve(window: Window) -> tuple[Window, Window]:
    row, col, height, width = window
    if height >= width:
        half = height // 2
        return Window(row, col, half, width), Window(row + half, col, height - half, width)
    half = width // 2
    return Window(row, col, height, half), Window(row, col + half, height, width - half)


def _say_extent(grid: Grid) -> str:
    left, bottom, right, top = grid.bounds
    return f"{left:.6g} to {right:.6g}, {bottom:.6g} to {top:.6g}"
