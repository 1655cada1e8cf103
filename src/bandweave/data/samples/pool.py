"""Pixels of a scene to draw from, all alike."""

from __future__ import annotations

import numpy as np


class Pool:
    """Pixels of parts to draw from, of masks (H, W) bool."""

    def __init__(self, masks: list[np.ndarray]) -> None:
        self._masks = masks
        self._rows = np.cumsum([0] + [mask.shape[0] for mask in masks])
        counts = [mask.sum(axis=1) for mask in masks]
        self._ends = np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))

    @property
    def counts(self) -> np.ndarray:
        """Number of pixels of each part."""
        return np.array([mask.sum() for mask in self._masks])

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(self._ends[-1]) if self._ends.size else 0

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw one: part, row and column."""
        pixel = int(rng.integers(self.size))
        through = int(np.searchsorted(self._ends, pixel, "right"))  # its row, of all parts
        part = int(np.searchsorted(self._rows, through, "right")) - 1
        row = through - int(self._rows[part])
        columns = np.flatnonzero(self._masks[part][row])
        return part, row, int(columns[pixel - (int(self._ends[through]) - columns.size)])
