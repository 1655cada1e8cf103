"""Patches around training pixels, for a model that answers for the pixel in their middle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from bandweave.data.samples.augment import UNCHANGED, AugmentConfig, draw_orientation
from bandweave.data.samples.crops import ROWS, CropSampler, Drawn
from bandweave.data.samples.pool import Pool
from bandweave.data.scene import IGNORED
from bandweave.data.splits.masks import regrid
from bandweave.raster.grid import Window

log = logging.getLogger(__name__)

MOST = 200  # training pixels of a class that are shown as they are
SHOWN = 256  # of them at once


class PixelSampler(CropSampler):
    """Batches of patches, each with a training pixel in its middle: row and column ⌊crop / 2⌋.

    A pixel is drawn as of crops: a class, then one of its training pixels. Where labels are finer
    than the grid, the pixel of the grid that holds it is in the middle, and all training labels in
    that are what is learnt there. A patch may reach out of the part, and is 0 there.

    With `unlabelled`, patches around pixels of the grid that have data and no label in the scene,
    nor are hidden from training, stand behind those in a batch, drawn evenly.

    With `pseudo`, its share of the patches are around pixels that have such a label.
    """

    draws_unlabelled = True
    one_side = True
    one_pixel = True

    def _prepare(self) -> None:
        self._pool = Pool([])
        if self.config.unlabelled:
            self._pool = Pool([self._find_unlabelled(i) for i in range(len(self.scene.parts))])
            self._tell_of_pool()

    def batch(self, step: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """The batch of a step and process, as of crops.

        layers  by name: (B, C, crop·ratio, crop·ratio) float32, scaled
        labels  (B, label ratio, label ratio) int64 of the pixels in the middle

        B is the batch, and `unlabelled` times as many more that have no label.
        """
        return super().batch(step, rank, world)

    def show_training_pixels(self, most: int = MOST) -> Iterator[dict[str, Any]]:
        """Batches of training pixels as they are in the scene, at most so many of a class."""
        chosen = [
            pixels[np.linspace(0, pixels.size - 1, min(pixels.size, most)).astype(int)]
            for pixels in self._pixels
        ]
        places = sorted({self._locate(int(pixel)) for pixel in np.concatenate(chosen)})
        rng = np.random.default_rng(0)  # nothing that is drawn of it changes anything
        drawn = [Drawn(rng, part, self._surround(row, col), False, 0) for part, row, col in places]
        for first in range(0, len(drawn), SHOWN):
            yield self._make_batch(drawn[first : first + SHOWN], UNCHANGED)

    def _draw_batch(self, first: int, crops: int, side: int) -> Iterator[Drawn]:
        yield from super()._draw_batch(first, crops, side)
        if not self._pool.size:
            return
        augment = self.config.augment
        for number in range(first, first + crops):
            for other in range(self.config.unlabelled):
                rng = np.random.default_rng([self.seed, number, 1 + other])
                part, row, col = self._pool.draw(rng)
                turned = draw_orientation(augment.flips, augment.rotations, rng)
                yield Drawn(rng, part, self._surround(row, col), *turned)

    def _draw(self, rng: np.random.Generator, side: int) -> tuple[int, Window]:
        part, row, col = self._draw_pixel(rng)
        return part, self._surround(row, col)

    def _surround(self, row: int, col: int) -> Window:
        size = self.config.crop
        return Window(row - size // 2, col - size // 2, size, size)

    def _make_example(
        self, drawn: Drawn, augment: AugmentConfig
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Layers as of crops, and the labels (ratio, ratio) of the pixel in the middle."""
        layers, labels = super()._make_example(drawn, augment)
        ratio = self.split.ratio
        middle = slice(self.config.crop // 2 * ratio, (self.config.crop // 2 + 1) * ratio)
        return layers, labels[middle, middle]

    def _find_unlabelled(self, number: int) -> np.ndarray:
        """Find the pixels (H, W) bool of a part that have data and no label, and may be seen."""
        part, ratio = self.scene.parts[number], self.split.ratio
        found = np.ones((part.grid.height, part.grid.width), bool)
        if part.labels is not None:
            found &= regrid(part.labels.values == IGNORED, ratio, 1, every=True)
        for window in part.grid.window.divide(ROWS, part.grid.width):
            _, valid = self._read_crop(number, self._ground, window)  # none where it is hidden
            found[window.slices()] &= regrid(valid, self.ratios[self._ground], 1, every=True)
        return found

    def _tell_of_pool(self) -> None:
        """Warn where a batch asks for more unlabelled pixels than there are."""
        asked, there = self.config.batch * self.config.unlabelled, self._pool.size
        if there >= asked:
            return
        so = (
            "each is drawn again and again"
            if there
            else "the model learns from labelled pixels alone"
        )
        log.warning(
            "the scene has %d pixels that have data and no label, and a batch asks for %d: %s",
            there,
            asked,
            so,
        )
