"""Sources made from another source: fewer bands, other numbers, what neighbours tell."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import fields, replace
from typing import Any, Self

import numpy as np

from bandweave.raster.grid import Window
from bandweave.raster.source import BandInfo, Source, WindowSource, read_nan

AT_ONCE = 2**24  # values of a source, or of what is computed from it, in one piece
LEAST = 64  # px: no piece is smaller, so that most of it is not halo


class Derived(WindowSource):
    """Bands computed from a source, each pixel from those within `halo` px of it.

    A window is computed from one that is `halo` px wider to each side, with holes outside the grid,
    so that any two windows agree where they overlap. A subclass writes `compute`.
    """

    halo = 0

    def __init__(self, source: Source, bands: int, info: BandInfo) -> None:
        self.source, self.bands, self.info = source, bands, info
        self.grid, self.dtype = source.grid, np.dtype(np.float32)

    def compute(self, values: np.ndarray, window: Window) -> np.ndarray:
        """Bands (bands, h, w) from a window of the source (C, h, w), NaN where there is none.

        Those within `halo` px of the edges may be anything.
        """
        raise NotImplementedError

    @property
    def reach(self) -> int:
        """Pixels beside a pixel that change its values: of this computation and those below it."""
        return self.halo + reach(self.source)

    def apply_to(self, source: Source) -> Self:
        """Compute the same from another source, of the same grid and bands."""
        other = copy(self)
        other.source = source
        return other

    def read_inside(self, window: Window) -> np.ndarray:
        values = np.empty((self.bands, window.height, window.width), np.float32)
        most = AT_ONCE // max(self.source.bands, self.bands)
        side = max(int(most**0.5) - 2 * self.halo, LEAST)
        for piece in window.divide(side, max(most // side - 2 * self.halo, LEAST)):
            around = piece.grow(self.halo)
            rows, cols = piece.slices((window.row, window.col))
            computed = self.compute(read_nan(self.source, around), around)
            values[:, rows, cols] = computed[:, *piece.slices(around[:2])]
        return values


class BandSubset(Derived):
    """Chosen bands of a source, in the order given (indices from 0)."""

    def __init__(self, source: Source, bands: Sequence[int]) -> None:
        outside = [band for band in bands if not 0 <= band < source.bands]
        if not bands or outside:
            raise ValueError(f"bands {list(bands)} of a source with {source.bands}")
        self._chosen = list(bands)
        per_band: dict[str, Any] = {
            entry.name: tuple(values[band] for band in bands)
            for entry in fields(source.info)
            if isinstance(values := getattr(source.info, entry.name), tuple)
        }
        super().__init__(source, len(bands), replace(source.info, **per_band))
        self.dtype = source.dtype

    def compute(self, values: np.ndarray, window: Window) -> np.ndarray:
        return values[self._chosen]


class Masked(Derived):
    """A source with holes where `hidden` (H, W) is set."""

    def __init__(self, source: Source, hidden: np.ndarray) -> None:
        super().__init__(source, source.bands, source.info)
        self.dtype, self._hidden = source.dtype, hidden

    def compute(self, values: np.ndarray, window: Window) -> np.ndarray:
        return np.where(self._hidden[window.slices()], np.float32(np.nan), values)


def reach(source: Source) -> int:
    """Pixels beside a pixel that change its values: 0 but for what is computed from neighbours."""
    return source.reach if isinstance(source, Derived) else 0


def hide(source: Source, hidden: np.ndarray) -> Source:
    """Compute a source as if what it is computed from had holes where `hidden` (H, W) is set."""
    if isinstance(source, Derived) and source.reach:
        return source.apply_to(hide(source.source, hidden))
    return Masked(source, hidden)


class Rescaled(WindowSource):
    """value × scale + offset of a source."""

    def __init__(self, source: Source, scale: float, offset: float) -> None:
        self.source, self._scale, self._offset = source, scale, offset
        if isinstance(source, WindowSource):
            self.notes, self.control = source.notes, source.control
        self.grid, self.dtype, self.bands = source.grid, source.dtype, source.bands
        scales, offsets = (source.info.scales or (1.0,)), (source.info.offsets or (0.0,))
        self.info = replace(
            source.info,
            scales=tuple(scale * own for own in _spread(scales, source.bands)),
            offsets=tuple(scale * own + offset for own in _spread(offsets, source.bands)),
        )

    def apply_to(self, source: Source) -> Rescaled:
        """Rescale another source by the same numbers."""
        return Rescaled(source, self._scale, self._offset)

    def read_inside(self, window: Window) -> np.ndarray:
        values = read_nan(self.source, window)
        return (values * np.float64(self._scale) + self._offset).astype(np.float32)


def _spread(values: tuple[float, ...], bands: int) -> tuple[float, ...]:
    return values if len(values) == bands else values * bands
