"""The ground that pixels cover, in hectares, in any CRS.

Degrees squared are no area, and a metre of a map projection is not quite one on the ground. So the
outline of a block of pixels is brought into an equal-area projection about the grid's centre
(Lambert's azimuthal one), where its area is that of a polygon. Pixels of a block count as equal.
"""

from __future__ import annotations

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform

from bandweave.errors import GridMismatch
from bandweave.raster.grid import Grid, Window

EXTENT, BLOCK = 5000.0, 64  # metres and pixels of a block's side at most
PER_SIDE = 8  # points of an outline along each side: sides are curved in another projection
WORLD = CRS.from_epsg(4326)


class GroundArea:
    """Areas of a grid's pixels.

    Raises GridMismatch where the grid has no place on the ground, or none that can be projected.
    """

    def __init__(self, grid: Grid) -> None:
        if grid.crs is None or not grid.georeferenced:
            what = "CRS" if grid.crs is None else "transform"
            raise GridMismatch(
                f"a grid of {grid} without a {what} has no area on the ground; name the CRS in the "
                f"scene file (`crs:`), or count pixels"
            )
        self.grid = grid
        x, y = grid.xy(grid.height / 2, grid.width / 2)
        try:
            (longitude,), (latitude,) = transform(grid.crs, WORLD, [x], [y])
            self._plane = CRS.from_dict(
                proj="laea", lat_0=latitude, lon_0=longitude, datum="WGS84", units="m"
            )
        except CRSError as error:
            raise GridMismatch(f"no area in the CRS {grid.crs}: {error}") from error
        pixel = self.hectares(Window(grid.height // 2, grid.width // 2, 1, 1))
        self._block = max(1, min(BLOCK, int(EXTENT / (100 * pixel**0.5))))

    def hectares(self, window: Window) -> float:
        """The area of a rectangle of pixels, which should not be much larger than a block.

        >>> from rasterio.transform import Affine
        >>> grid = Grid(100, 100, Affine(10, 0, 500_000, 0, -10, 5_000_000), CRS.from_epsg(32632))
        >>> round(GroundArea(grid).hectares(grid.window), 2)  # a metre of UTM is 0.9996 there
        100.08
        """
        along = np.linspace(0, 1, PER_SIDE, endpoint=False)
        rows = np.concatenate([0 * along, along, 0 * along + 1, 1 - along]) * window.height
        cols = np.concatenate([along, 0 * along + 1, 1 - along, 0 * along]) * window.width
        corners = self.grid.xy(rows + window.row, cols + window.col)  # type: ignore[arg-type]
        x, y = (np.asarray(v) for v in transform(self.grid.crs, self._plane, *corners))
        if not np.isfinite(x + y).all():
            raise GridMismatch(
                f"pixels of rows {window.row} to {window.row + window.height - 1} and columns "
                f"{window.col} to {window.col + window.width - 1} lie outside what the CRS "
                f"{self.grid.crs} can place on the ground"
            )
        twice = np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))
        return abs(float(twice)) / 2 / 1e4

    def spread(self, window: Window) -> np.ndarray:
        """The hectares of each pixel of a window (h, w) float64."""
        spread = np.empty((window.height, window.width))
        for block in window.divide(self._block):
            pixels = block.height * block.width
            spread[block.slices((window.row, window.col))] = self.hectares(block) / pixels
        return spread

    def sum_by_class(self, codes: np.ndarray, origin: Window, classes: int) -> np.ndarray:
        """Sum the hectares of each class index (K,) float64 in a window `origin` of the grid.

        codes  (h, w) class indices; what is negative is of no class
        """
        total = np.zeros(classes, np.float64)
        for window in origin._replace(height=codes.shape[0], width=codes.shape[1]).divide(
            self._block
        ):
            block = codes[window.slices((origin.row, origin.col))]
            counts = np.bincount(block[block >= 0], minlength=classes)
            if counts.any():
                total += counts * (self.hectares(window) / block.size)
        return total
