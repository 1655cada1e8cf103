"""The two protocols of scoring: a pair at reduced resolution, and as it is, each by window."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from bandweave.errors import GridMismatch
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import low_pass_reach
from bandweave.pansharp.pair.wald import ReducedPair
from bandweave.pansharp.pair.window import PairSource
from bandweave.pansharp.scores.block_quality import BLOCK, block_windows
from bandweave.pansharp.scores.full import FullScorer, degraded, toolbox_reach, undecimated
from bandweave.pansharp.scores.reduced import ReducedScorer
from bandweave.pansharp.sensors import Sensor
from bandweave.pansharp.sharpener import MakeSharpener, Sharpener
from bandweave.pansharp.threads import map_ordered
from bandweave.raster.grid import Window

WINDOW = 1024  # PAN pixels scored at a time


class Protocol(ABC):
    """A pair as a protocol has it, and how a sharpener is scored on it.

    pair    the pair that is sharpened
    window  PAN pixels scored at a time
    """

    def __init__(self, pair: PairSource, sensor: Sensor, window: int) -> None:
        self.pair, self.sensor, self.window = pair, sensor, window
        self.shape = pair.grid.height, pair.grid.width

    def fit(self, make: MakeSharpener) -> Sharpener:
        """Make a sharpener and let it look at the pair."""
        sharpener = make(self.pair, self.sensor)
        places = self.pair.grid.window.divide(self.window)
        sharpener.fit(map_ordered(lambda at: self.pair.read(at, sharpener.margin), places))
        return sharpener

    def sharpen(self, sharpener: Sharpener, window: Window) -> np.ndarray:
        """(C, H, W) of a window."""
        seen = self.pair.read(window, sharpener.margin)
        return sharpener.apply(seen)[:, *seen.core]

    @abstractmethod
    def score(self, sharpener: Sharpener) -> tuple[dict[str, float], dict[str, int]]:
        """The scores of a sharpener that was fitted, and what was counted."""


class ReducedProtocol(Protocol):
    """A pair at reduced resolution. Raises GridMismatch for one that is too small."""

    def __init__(
        self, pair: Pair, sensor: Sensor, peak: float, window: int, toolbox: bool = False
    ) -> None:
        try:
            self._coarser, self.peak = ReducedPair(pair, sensor), peak
        except ValueError as error:
            raise GridMismatch(str(error)) from None
        super().__init__(self._coarser, sensor, max(window // pair.ratio, BLOCK))

    def score(self, sharpener: Sharpener) -> tuple[dict[str, float], dict[str, int]]:
        """Compare with the observed MS."""
        pair = self._coarser
        scorer = ReducedScorer(self.shape, pair.bands, pair.ratio, self.peak)

        def make(window: Window) -> tuple[Window, tuple[np.ndarray, ...]]:
            around = scorer.around(window)
            truth, valid = pair.read_truth(around)
            return window, (truth, self.sharpen(sharpener, around), valid)

        windows = block_windows(self.shape, self.window)
        for window, (truth, image, valid) in map_ordered(make, windows):
            scorer.add(truth, image, valid, window)
        return scorer.result(), scorer.counted


class FullProtocol(Protocol):
    """A pair as it is."""

    def __init__(
        self, pair: Pair, sensor: Sensor, peak: float, window: int, toolbox: bool = False
    ) -> None:
        super().__init__(pair, sensor, window)
        self._whole, self.toolbox = pair, toolbox
        self._reach = low_pass_reach(pair.ratio, (*sensor.mtf, sensor.mtf_pan))
        if toolbox:
            self._reach = max(self._reach, toolbox_reach(pair.ratio, sensor.mtf))

    def score(self, sharpener: Sharpener) -> tuple[dict[str, float], dict[str, int]]:
        """Compare with PAN and MS as they are."""
        pair, r = self._whole, self.pair.ratio
        scorer = FullScorer(self.shape, pair.ms_shape, pair.bands, r, toolbox=self.toolbox)
        pixels = 0

        def make(coarse: Window) -> tuple[Window, tuple[np.ndarray, ...]]:
            inner = coarse.finer(r)
            outer = inner.grow(self._reach).clip(*self.shape)
            assert outer is not None
            seen = pair.read(outer, sharpener.margin)
            core = seen.core
            image, pan, valid = sharpener.apply(seen)[:, *core], seen.pan[core], seen.valid[core]
            nesting = pair.nesting.crop(outer[:2], coarse[:2])
            low = degraded(
                image, pan, nesting, coarse[2:], self.sensor.mtf, self.sensor.mtf_pan, valid
            )
            exact = pair.read(inner)
            cut = inner.slices((outer.row, outer.col))
            high = image[:, *cut], pan[cut], valid[cut]
            arrays = (*high, exact.ms, *low[:2], low[2] & exact.ms_valid)
            return coarse, arrays + (self._flat(outer, image, cut) if self.toolbox else ())

        coarse_windows = block_windows(
            pair.ms_shape, max(self.window // r, scorer.blocks[1]), scorer.blocks[1]
        )
        for coarse, arrays in map_ordered(make, coarse_windows):
            image, pan, valid, ms, image_low, pan_low, seen, *flat = arrays
            scorer.add(image, pan, valid, coarse.finer(r))
            if flat:
                wide, low, pan_flat, whole = flat
                scorer.add_undecimated(wide, low, pan_flat, whole, coarse.finer(r))
            scorer.add_low(ms, image_low, pan_low, seen, coarse)
            pixels += int(valid.sum())
        return scorer.result(), {"pixels": pixels, **scorer.counted}

    def _flat(
        self, outer: Window, image: np.ndarray, cut: tuple[slice, slice]
    ) -> tuple[np.ndarray, ...]:
        """What the toolbox compares, of an image on the window `outer`, cut to a part of it."""
        seen = self.pair.read(outer)
        made = undecimated(image, seen.pan, seen.ms, seen.nesting, self.sensor.mtf, seen.valid)
        return tuple(array[..., *cut] for array in made)


PROTOCOLS: dict[str, type[ReducedProtocol] | type[FullProtocol]] = {
    "reduced": ReducedProtocol,
    "full": FullProtocol,
}
