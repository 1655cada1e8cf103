"""The steepness of a surface, in degrees, from its heights.

Source: Horn 1981, "Hill shading and the reflectance map".

    z       heights of a pixel and its eight neighbours at columns x and rows y, −1 to 1
    w       weights (2 − |x|)(2 − |y|): 4 in the middle, 2 beside it, 1 at the corners
    plane   z ≈ z₀ + p·x + q·y with the least weighted squares, over the pixels that have a height.
            Where all nine have one, p and q are Horn's
    slope   atan |∇z|, (p, q) brought from pixels to metres by the grid's transform

A pixel whose known neighbours lie on one line with it has no slope.
"""

from __future__ import annotations

import math

import numpy as np

from bandweave.raster.deriving.source import Derived
from bandweave.raster.grid import METRES, Grid, Window
from bandweave.raster.source import BandInfo, Source


class SlopeSource(Derived):
    """Slope of each band of a source of heights.

    grid   where its pixels are: in metres, feet or degrees by its CRS, whose metres heights are in;
           without one in the unit of the heights
    pixel  side of a pixel in the unit of the heights, in place of what the grid says
    """

    halo = 1

    def __init__(self, source: Source, grid: Grid, pixel: float | None = None) -> None:
        super().__init__(source, source.bands, BandInfo(units="degree"))
        self._place, self._pixel = grid, pixel

    def compute(self, values: np.ndarray, window: Window) -> np.ndarray:
        slope = np.full(values.shape, np.nan, np.float32)
        across, down = _fit_planes(values.astype(np.float64))
        inside = window.grow(-1)
        east, north = self._to_ground(across, down, inside)
        slope[:, 1:-1, 1:-1] = np.degrees(np.arctan(np.hypot(east, north)))
        slope[np.isnan(values)] = np.nan
        return slope

    def _to_ground(
        self, across: np.ndarray, down: np.ndarray, window: Window
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bring a gradient in heights a pixel to heights a metre."""
        if self._pixel is not None:
            return across / self._pixel, down / self._pixel
        t, crs = self._place.transform, self._place.crs
        x = (t.e * across - t.d * down) / t.determinant
        y = (t.a * down - t.b * across) / t.determinant
        if crs is None:
            return x, y
        if not crs.is_geographic:
            metres = crs.linear_units_factor[1]
            return x / metres, y / metres
        rows = window.row + np.arange(window.height)[:, None] + 0.5
        cols = window.col + np.arange(window.width) + 0.5
        latitude = np.radians(t.d * cols + t.e * rows + t.f)
        return x / (METRES * np.maximum(np.cos(latitude), 1e-9)), y / METRES


def _fit_planes(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes p and q (C, h − 2, w − 2) of the planes through the pixels of (C, h, w)."""
    height, width = z.shape[1] - 2, z.shape[2] - 2
    middle = z[:, 1:-1, 1:-1]
    shape = middle.shape
    n, x, y, xx, xy, yy, d, xd, yd = np.zeros((9, *shape))
    for row in (-1, 0, 1):
        for col in (-1, 0, 1):
            rise = z[:, 1 + row : 1 + row + height, 1 + col : 1 + col + width] - middle
            weight = np.where(np.isnan(rise), 0, (2 - abs(row)) * (2 - abs(col)))
            rise = np.where(np.isnan(rise), 0, rise)
            n += weight
            x, y = x + weight * col, y + weight * row
            xx, xy, yy = xx + weight * col**2, xy + weight * col * row, yy + weight * row**2
            d, xd, yd = d + weight * rise, xd + weight * col * rise, yd + weight * row * rise
    n = np.maximum(n, 1)
    xx, xy, yy = xx - x * x / n, xy - x * y / n, yy - y * y / n
    xd, yd = xd - x * d / n, yd - y * d / n
    determinant = xx * yy - xy * xy
    determinant[determinant < 1e-6] = math.nan
    return (yy * xd - xy * yd) / determinant, (xx * yd - xy * xd) / determinant
