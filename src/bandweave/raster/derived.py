"""Sources made from another source: fewer bands, other numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from bandweave.raster.grid import Window
from bandweave.raster.source import Source, WindowSource, read_nan


class BandSubset(WindowSource):
    """Chosen bands of a source, in the order given (indices from 0)."""

    def __init__(self, source: Source, bands: Sequence[int]) -> None:
        outside = [band for band in bands if not 0 <= band < source.bands]
        if not bands or outside:
            raise ValueError(f"bands {list(bands)} of a source with {source.bands}")
        self.source, self._chosen = source, list(bands)
        self.grid, self.dtype, self.bands = source.grid, source.dtype, len(bands)
        per_band: dict[str, Any] = {
            entry.name: tuple(values[band] for band in bands)
            for entry in fields(source.info)
            if isinstance(values := getattr(source.info, entry.name), tuple)
        }
        self.info = replace(source.info, **per_band)

    def read_inside(self, window: Window) -> np.ndarray:
        return read_nan(self.source, window)[self._chosen]


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
