"""A window of a pair, and what any pair is that windows are read of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.resample import upsample
from bandweave.raster.grid import Grid, Window


@dataclass
class PairWindow:
    """A window of a pair with a margin around it.

    Holes have the values of the nearest valid pixel, and what lies outside the pair's grid those of
    its edge, so that filters run over them unharmed; both are invalid. The MS pixels are those that
    the PAN pixels touch, by the nesting rounded to whole MS pixels.

    window     on the pair's grid, without the margin
    margin     PAN pixels on each of the four sides
    nesting    of `ms` on `pan`
    pan        (H, W) float32, margin included
    ms         (C, h, w) float32
    pan_valid  (H, W) bool
    ms_valid   (h, w) bool: all bands are
    """

    window: Window
    margin: int
    nesting: Nesting
    pan: np.ndarray
    ms: np.ndarray
    pan_valid: np.ndarray
    ms_valid: np.ndarray

    @property
    def core(self) -> tuple[slice, slice]:
        """Where the window lies on `pan` and on any result of its size."""
        return self.window.slices((self.window.row - self.margin, self.window.col - self.margin))

    @property
    def ms_core(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the MS pixels whose centres lie in the window, without its margin."""
        nesting, found = self.nesting, []
        sides = (nesting.row, nesting.col), self.window[2:], self.ms_valid.shape
        for corner, length, count in zip(*sides, strict=True):
            centres = corner + nesting.ratio * (np.arange(count) + 0.5) - self.margin
            found.append(np.flatnonzero((centres >= 0) & (centres < length)))
        return found[0], found[1]

    @property
    def ms_origin(self) -> tuple[int, int]:
        """Row and column, among all MS pixels of the pair, of the first one in `ms`."""
        row, col = self.window.row - self.margin, self.window.col - self.margin
        ratio = self.nesting.ratio
        return round((self.nesting.row + row) / ratio), round((self.nesting.col + col) / ratio)

    @property
    def valid(self) -> np.ndarray:
        """(H, W) bool: PAN pixels that are valid, and so is the MS pixel that holds each."""
        n, (height, width), (h, w) = self.nesting, self.pan_valid.shape, self.ms_valid.shape
        rows = np.floor((np.arange(height) + 0.5 - n.row) / n.ratio).astype(int)
        cols = np.floor((np.arange(width) + 0.5 - n.col) / n.ratio).astype(int)
        return self.pan_valid & self.ms_valid[np.ix_(rows.clip(0, h - 1), cols.clip(0, w - 1))]

    @property
    def both_valid(self) -> np.ndarray:
        """(h, w) bool: MS pixels that are valid, and all PAN pixels whose centres they hold."""
        valid = self.ms_valid.copy()
        rows, cols = (
            np.clip(((places + 0.5 - corner) // self.nesting.ratio).astype(int), 0, count - 1)
            for places, corner, count in zip(
                np.nonzero(~self.pan_valid),
                (self.nesting.row, self.nesting.col),
                valid.shape,
                strict=True,
            )
        )
        valid[rows, cols] = False
        return valid

    def interpolate(self) -> np.ndarray:
        """The bands (C, H, W) float32, interpolated to the PAN pixels by cubic convolution."""
        return upsample(self.ms, self.nesting, self.pan.shape)


class PairSource(ABC):
    """A PAN and an MS image that are read together by window: of files, or made coarser of such.

    ratio    PAN pixels that an MS pixel is wide
    bands    of MS, and their names
    grid     of PAN: size, transform, CRS
    nesting  of MS on PAN
    scaled   values of PAN or of MS are not those that are stored
    """

    ratio: int
    bands: int
    names: tuple[str, ...]
    grid: Grid
    nesting: Nesting
    scaled: bool

    @abstractmethod
    def read(self, window: Window, margin: int = 0) -> PairWindow:
        """A window on `grid` with `margin` PAN pixels around it.

        Raises ValueError for a window of which nothing lies on the grid.
        """
