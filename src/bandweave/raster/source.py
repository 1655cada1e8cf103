"""What every reader of pixels offers, whatever the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bandweave.raster.grid import Grid, Window


@dataclass(frozen=True)
class BandInfo:
    """What a file says of its bands. Each tuple has one entry a band, or is None if unknown."""

    wavelengths: tuple[float, ...] | None = None  # nanometres
    units: str | None = None  # of the values, after scale and offset
    names: tuple[str, ...] | None = None
    scales: tuple[float, ...] | None = None
    offsets: tuple[float, ...] | None = None


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
