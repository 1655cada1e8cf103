"""Classes of pixels without a label, drawn by the probabilities that an earlier training gave them.

A class is drawn anew each time that a pixel is seen, so that what is learnt of it in the mean is
its probabilities: a doubtful pixel is never learnt as if it were sure.

Source: self-training with soft pseudo-labels (Lee 2013; Xie et al., "Self-training with Noisy
Student improves ImageNet classification", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bandweave.data.scene import IGNORED
from bandweave.raster.grid import Window

CERTAIN = 255  # what the probabilities of a pixel add up to, but for rounding


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Probabilities of classes by pixel, and how many of the pixels learn from them.

    tables  of each part: (H·R, W·R, K) uint8 on the labels' grid, of CERTAIN in all; 0 for every
            class where nothing is known. They may be memory maps of files
    share   of a sample's pixels without a label that get one
    """

    tables: Sequence[np.ndarray]
    share: float

    def fill(
        self, part: int, window: Window, labels: np.ndarray, rng: np.random.Generator, share: float
    ) -> None:
        """Give some of the unlabelled pixels in a window's labels (h, w) a drawn class, in place.

        window  of the labels' grid; what lies outside the part stays as it is
        share   of those pixels, by chance
        """
        table = self.tables[part]
        inside = window.clip(*table.shape[:2])
        if inside is None:
            return
        own = labels[inside.slices((window.row, window.col))]
        chosen = (own == IGNORED) & (rng.random(own.shape) < share)
        sums = np.cumsum(table[inside.slices()][chosen], axis=1, dtype=np.int16)  # (P, K)
        drawn = (sums <= (rng.random(len(sums)) * sums[:, -1])[:, None]).sum(axis=1)
        own[chosen] = np.where(sums[:, -1] > 0, drawn, IGNORED)

    def known(self, part: int, ratio: int) -> np.ndarray:
        """Pixels (H, W) bool of a part's grid of which anything is known.

        ratio  how many times finer than the grid the tables are
        """
        table = self.tables[part]
        height, width = (side // ratio for side in table.shape[:2])
        found = np.zeros((height, width), bool)
        for row in range(height):
            rows = table[row * ratio : (row + 1) * ratio].any(axis=(0, 2))
            found[row] = rows.reshape(width, ratio).any(axis=1)
        return found


def as_table(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (K, h, w) as a table (h, w, K) uint8."""
    return np.moveaxis(np.rint(CERTAIN * probabilities), 0, -1).astype(np.uint8)
