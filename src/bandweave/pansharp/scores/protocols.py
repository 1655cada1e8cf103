"""The two protocols of scoring: a pair at reduced resolution, and as it is, each by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from bandweave.errors import GridMismatch
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.reduced_scene import ReducedScene
from bandweave.pansharp.pair.window import PairSource
from bandweave.pansharp.scores.block_quality import BLOCK, block_windows
from bandweave.pansharp.scores.full import (
    FullScorer,
    degraded,
    low_pass_reach,
    toolbox_reach,
    undecimated,
)
from bandweave.pansharp.scores.reduced import ReducedScorer
from bandweave.pansharp.sensors import Sensor
from bandweave.pansharp.sharpener import MakeSharpener, Sharpener
from bandweave.pansharp.threads import map_ordered
from bandweave.raster.grid import Window

REDUCED_RESOLUTION, FULL_RESOLUTION = "reduced", "full"
PROTOCOLS = (REDUCED_RESOLUTION, FULL_RESOLUTION)
WINDOW = 1024  # PAN pixels scored at a time


class _Windows(NamedTuple):
    """What a window adds to a score: see the scorers' add."""

    window: Window
    arrays: tuple[np.ndarray, ...]


class ReducedStage:
    """A pair at reduced resolution, and how a sharpener is scored on it."""

    def __init__(
        self, pair: Pair, sensor: Sensor, peak: float, window: int, toolbox: bool = False
    ) -> None:
        self.pair, self.sensor, self.peak = pair, sensor, peak
        try:
            self.scene = ReducedScene(pair, sensor)
        except ValueError as error:
            raise GridMismatch(str(error)) from None
        self.shape = self.scene.shape
        self.window = max(window // pair.ratio, BLOCK)

    def fitted(self, make: MakeSharpener) -> Sharpener:
        """A sharpener that has looked at the scene."""
        return _fit(make(self.scene, self.sensor), self.scene, self.shape, self.window)

    def score(self, sharpener: Sharpener) -> tuple[dict[str, float], dict[str, int]]:
        """The scores, and what was counted."""
        scorer = ReducedScorer(self.shape, self.scene.bands, self.scene.ratio, self.peak)

        def make(window: Window) -> _Windows:
            around = scorer.around(window)
            truth, valid = self.scene.truth(around)
            return _Windows(window, (truth, self.sharp(sharpener, around), valid))

        for window, (truth, image, valid) in map_ordered(
            make, block_windows(self.shape, self.window)
        ):
            scorer.add(truth, image, valid, window)
        return scorer.result(), scorer.counted

    def sharp(self, sharpener: Sharpener, window: Window) -> np.ndarray:
        """(C, h, w) of a window."""
        return _sharp(sharpener, self.scene, window)


class FullStage:
    """A pair as it is, and how a sharpener is scored on it."""

    def __init__(
        self, pair: Pair, sensor: Sensor, peak: float, window: int, toolbox: bool = False
    ) -> None:
        self.pair = self.scene = pair
        self.sensor, self.toolbox = sensor, toolbox
        self.shape = pair.grid.height, pair.grid.width
        self.window = window
        self._reach = low_pass_reach(pair.ratio, sensor.mtf, sensor.mtf_pan)
        if toolbox:
            self._reach = max(self._reach, toolbox_reach(pair.ratio, sensor.mtf))

    def fitted(self, make: MakeSharpener) -> Sharpener:
        """A sharpener that has looked at the scene."""
        return _fit(make(self.pair, self.sensor), self.pair, self.shape, self.window)

    def score(self, sharpener: Sharpener) -> tuple[dict[str, float], dict[str, int]]:
        """The scores, and what was counted."""
        pair, r = self.pair, self.pair.ratio
        scorer = FullScorer(self.shape, pair.ms_shape, pair.bands, r, toolbox=self.toolbox)
        pixels = 0

        def make(coarse: Window) -> _Windows:
            inner = coarse.finer(r)
            outer = Window(
                inner.row - self._reach,
                inner.col - self._reach,
                inner.height + 2 * self._reach,
                inner.width + 2 * self._reach,
            ).clip(*self.shape)
            assert outer is not None
            seen = pair.read(outer, sharpener.margin)
            core = seen.core
            image, pan = sharpener.apply(seen)[:, *core], seen.pan[core]
            valid = seen.valid[core]
            nesting = pair.nesting.cropped((outer.row, outer.col), (coarse.row, coarse.col))
            low = degraded(
                image, pan, nesting, coarse[2:], self.sensor.mtf, self.sensor.mtf_pan, valid
            )
            exact = pair.read(inner)
            cut = inner.slices((outer.row, outer.col))
            high = image[:, *cut], pan[cut], valid[cut]
            arrays = (*high, exact.ms, *low[:2], low[2] & exact.ms_valid)
            return _Windows(
                coarse, arrays + (self._flat(outer, image, cut) if self.toolbox else ())
            )

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

    def sharp(self, sharpener: Sharpener, window: Window) -> np.ndarray:
        """(C, h, w) of a window."""
        return _sharp(sharpener, self.pair, window)


STAGES: dict[str, Any] = {REDUCED_RESOLUTION: ReducedStage, FULL_RESOLUTION: FullStage}


def _fit(sharpener: Sharpener, scene: PairSource, shape: tuple[int, int], window: int) -> Sharpener:
    def windows() -> Iterator[Any]:
        yield from map_ordered(
            lambda at: scene.read(at, sharpener.margin), Window(0, 0, *shape).divide(window)
        )

    sharpener.fit(windows())
    return sharpener


def _sharp(sharpener: Sharpener, scene: PairSource, window: Window) -> np.ndarray:
    seen = scene.read(window, sharpener.margin)
    return sharpener.apply(seen)[:, *seen.core]
