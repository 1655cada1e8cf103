"""Overlapping windows of logits, blended into finished rows.

A window's logits count most at its centre and hardly at its border, where a model saw least:
the weight of pixel i of n is the raised cosine at its centre, sin²(π(i + ½)/n), along rows times
along columns. A pixel's logits are the weighted mean over the windows that hold it, so that they
change smoothly from one window to the next, whatever the overlap (without one, there is nothing
to blend).

Sums are float64: where all windows agree on a pixel, their mean rounds to exactly their float32.
"""

from __future__ import annotations

import numpy as np


def raised_cosine(size: int) -> np.ndarray:
    """Weights (size,) of a window's rows or columns: symmetric, greatest in the middle, all > 0."""
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2


class Accumulator:
    """Weighted sums over the rows that one row of windows covers; rolls down as rows are finished.

    Holds classes × size × width float64: as high as a window, as wide as the swath.
    """

    def __init__(self, classes: int, size: int, width: int) -> None:
        self.size, self.width = size, width
        self.kernel = np.outer(raised_cosine(size), raised_cosine(size))
        self.sums = np.zeros((classes, size, width))
        self.weights = np.zeros((size, width))
        self.valid = np.zeros((size, width), dtype=bool)

    def add(self, logits: np.ndarray, col: int) -> None:
        """Add a window's logits (classes, size, size), its first column at `col`.

        What lies left or right of the swath is left out.
        """
        here, there = self._overlap(col, self.size)
        kernel = self.kernel[:, there]
        self.sums[:, :, here] += kernel * logits[:, :, there]
        self.weights[:, here] += kernel

    def mark(self, valid: np.ndarray, col: int) -> None:
        """Mark the pixels that have data: valid (size, w) from column `col`."""
        here, there = self._overlap(col, valid.shape[1])
        self.valid[:, here] |= valid[:, there]

    def take(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Finish the uppermost rows: logits (classes, rows, width) float32, 0 where not valid, and
        valid (rows, width). The rest moves up and the rows below it are empty.
        """
        valid = self.valid[:rows] & (self.weights[:rows] > 0)
        weights = np.where(valid, self.weights[:rows], 1)
        logits = np.empty((len(self.sums), rows, self.width), dtype=np.float32)
        for out, sums in zip(logits, self.sums, strict=True):
            out[:] = np.where(valid, sums[:rows] / weights, 0)
        for kept in (*self.sums, self.weights, self.valid):
            kept[: self.size - rows] = kept[rows:].copy()
            kept[self.size - rows :] = 0
        return logits, valid

    def _overlap(self, col: int, width: int) -> tuple[slice, slice]:
        """Columns `col` to `col + width` in the swath, and the same counted from `col`."""
        start, stop = max(col, 0), min(col + width, self.width)
        return slice(start, stop), slice(start - col, stop - col)
