"""Whole parts of a scene as training examples, drawn as a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bandweave.data.samples.augment import draw_orientation
from bandweave.data.samples.crops import CropSampler, Drawn
from bandweave.raster.grid import Window


class PartSampler(CropSampler):
    """Batches of whole parts, changed and turned as crops are; labels and holes are those of crops.

    A part is drawn as often as a class and then one of its training pixels, or one with a
    pseudo-label, fall into it. The parts of a batch are of the size of its first one. Where they
    are not square, all are turned by an odd number of quarters or none is, so that nothing is
    padded.
    """

    whole_parts = True

    def _prepare(self) -> None:
        parts, pseudo = self.scene.parts, self.pseudo
        classes = np.diff(self._cumulated, prepend=0.0)
        within = [np.searchsorted(self._starts, p, "right") - 1 for p in self._pixels]
        shares = [np.bincount(w, minlength=len(parts)) / max(w.size, 1) for w in within]
        self._weights = classes @ np.stack(shares)  # (parts,)
        if pseudo is not None and self._guessed.size:
            self._weights = self._weights / self._weights.sum() * (1 - pseudo.share)
            self._weights += pseudo.share * self._guessed.counts / self._guessed.size
        self._sizes = np.array([(p.grid.height, p.grid.width) for p in parts])

    def _count(self, side: int) -> int:
        """How many parts are in a batch, by the size that is in the middle of all."""
        pixels = np.median(self._sizes.prod(axis=1))
        return max(self.config.batch, int(np.ceil(self.config.fill / pixels)))

    def _draw_batch(self, first: int, crops: int, side: int) -> Iterator[Drawn]:
        augment, weights, odd = self.config.augment, self._weights, 0
        for number in range(first, first + crops):
            rng = np.random.default_rng([self.seed, number])
            part = int(rng.choice(len(weights), p=weights / weights.sum()))
            height, width = (int(side) for side in self._sizes[part])
            mirrored, turns = draw_orientation(augment.flips, augment.rotations, rng)
            if number == first:
                weights = weights * (self._sizes == self._sizes[part]).all(axis=1)
                odd = turns % 2
            elif height != width:
                turns += odd - turns % 2
            yield Drawn(rng, part, Window(0, 0, height, width), mirrored, turns)
