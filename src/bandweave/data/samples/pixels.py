"""Patches around training pixels, for a model that answers for the pixel in their middle."""

from __future__ import annotations

import numpy as np

from bandweave.data.samples.crops import CropSampler, Drawn
from bandweave.raster.grid import Window


class PixelSampler(CropSampler):
    """Batches of patches, each with a training pixel in its middle: row and column ⌊crop / 2⌋.

    A pixel is drawn as of crops: a class, then one of its training pixels. Where labels are finer
    than the grid, the pixel of the grid that holds it is in the middle, and all training labels in
    that are what is learnt there. A patch may reach out of the part, and is 0 there.
    """

    def _draw(self, rng: np.random.Generator) -> tuple[int, Window]:
        part, row, col = self._draw_pixel(rng)
        size = self.config.crop
        return part, Window(row - size // 2, col - size // 2, size, size)

    def _make_example(self, drawn: Drawn) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Layers as of crops, and the labels (ratio, ratio) of the pixel in the middle."""
        layers, labels = super()._make_example(drawn)
        ratio = self.split.ratio
        middle = slice(self.config.crop // 2 * ratio, (self.config.crop // 2 + 1) * ratio)
        return layers, labels[middle, middle]
