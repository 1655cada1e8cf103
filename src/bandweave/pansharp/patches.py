"""Training patches by Wald's protocol, drawn as a pure function of seed and step.

A window of a full-resolution pair is made coarser through the sensor's MTF as it is drawn: the
observed MS is the target, and what the model is fed is `ratio` times coarser than the files.

Files are seldom as blurred as the table of sensors says, and their noise does not shrink with the
scale as that of a blurred image does. A model that only met one blur undoes it on files that have
less of it, which makes noise into speckle and edges into dots. So the blur varies from patch to
patch, apart for MS and PAN, from the sensor's to hardly any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bandweave.data.samples.augment import draw_orientation, orient
from bandweave.errors import ConfigError, GridMismatch
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import low_pass_reach
from bandweave.pansharp.pair.value_scale import ValueScale
from bandweave.pansharp.pair.wald import reduce_window
from bandweave.pansharp.sensors import Sensor
from bandweave.raster.grid import Window, spread_windows

TRIES = 10  # places drawn for a patch, until one is valid at least to this share:
VALID = 0.5
BLURS = 8  # strengths of the blur, from the sensor's down
SPREAD = 4  # places along each side of a pair that is validated on, at most


@dataclass(frozen=True)
class PatchConfig:
    """Which patches a sharpening model is trained on.

    patch      px of the coarser MS that the model is fed: side of a patch; its PAN and its target
               are `ratio` times as wide
    batch      patches in a step of one process
    flips      mirror half of the patches
    rotations  turn patches by a multiple of 90°
    less_blur  share of the variance of the sensor's blur that a patch may lack, drawn for each; 0:
               always the sensor's
    cache_mb   files are kept in memory where they take no more; otherwise read by window
    """

    patch: int = 32
    batch: int = 4
    flips: bool = True
    rotations: bool = True
    less_blur: float = 0.9
    cache_mb: int = 2048

    def __post_init__(self) -> None:
        if self.patch < 1 or self.batch < 1 or self.cache_mb < 0:
            raise ConfigError(
                f"patch {self.patch} and batch {self.batch} must be at least 1, cache_mb "
                f"{self.cache_mb} at least 0"
            )
        if not 0 <= self.less_blur < 1:
            raise ConfigError(f"less_blur {self.less_blur:g} is a share from 0 to below 1")


class PatchSampler:
    """Batches of patches from several pairs, each as often as it has places for one.

    pairs   of one ratio, with the same bands
    sensor  theirs: its MTF makes them coarser
    scale   what their values are divided by

    The patch of a number (step, rank and place in the batch counted through) depends on nothing but
    the seed and that number, so that two processes draw what one with twice the batch would.

    Raises GridMismatch for a pair that is smaller than a patch.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        sensor: Sensor,
        scale: ValueScale,
        config: PatchConfig,
        seed: int = 0,
    ) -> None:
        self.sensor, self.scale, self.config, self.seed = sensor, scale, config, seed
        self.ratio = pairs[0].ratio
        self._side = config.patch * self.ratio  # px of the MS files
        self._margin = low_pass_reach(self.ratio, (*sensor.mtf, sensor.mtf_pan)) * self.ratio
        for pair in pairs:
            if min(pair.ms_shape) < self._side:
                height, width = pair.ms_shape
                raise GridMismatch(
                    f"a pair has {height}×{width} MS pixels, and a patch takes {self._side} along "
                    f"each side (patch {config.patch} × ratio {self.ratio}); set `patch` to "
                    f"{min(pair.ms_shape) // self.ratio} or less, or leave the pair out"
                )
        places = [math.prod(n - self._side + 1 for n in pair.ms_shape) for pair in pairs]
        self._until = np.cumsum(places)
        small = _megabytes(pairs) <= config.cache_mb
        self.pairs = [pair.load() if small else pair for pair in pairs]

    def batch(self, step: int, rank: int = 0, world: int = 1) -> dict[str, np.ndarray]:
        """The batch of a step and process, float32, in units of the scale.

        ms      (B, C, patch, patch)
        pan     (B, 1, patch·ratio, patch·ratio)
        target  (B, C, patch·ratio, patch·ratio), NaN where nothing is known
        """
        first = (step * world + rank) * self.config.batch
        drawn = [self._draw_patch(first + place) for place in range(self.config.batch)]
        return {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}

    def spread(self) -> Iterator[dict[str, np.ndarray]]:
        """Patches at fixed places over every pair, one at a time, as they lie: to validate on."""
        for number, pair in enumerate(self.pairs):
            numbers = [min(SPREAD, count // self._side) for count in pair.ms_shape]
            for place in spread_windows(pair.ms_shape, (self._side, self._side), numbers):
                patch = self._cut_patch(number, place.row, place.col)
                yield {name: values[None] for name, values in patch.items()}

    def _draw_patch(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, index])
        mirrored, turns = draw_orientation(self.config.flips, self.config.rotations, rng)
        blur = 1 - self.config.less_blur * rng.integers(BLURS, size=2) / (BLURS - 1)
        best, most = None, -1.0
        for _ in range(TRIES):
            place = int(rng.integers(self._until[-1]))
            number = int(np.searchsorted(self._until, place, "right"))
            across = self.pairs[number].ms_shape[1] - self._side + 1
            row, col = divmod(place - int(self._until[number - 1] if number else 0), across)
            patch = self._cut_patch(number, row, col, *blur.tolist())
            known = float(np.isfinite(patch["target"][0]).mean())
            if known > most:
                best, most = patch, known
            if known >= VALID:
                break
        assert best is not None
        return {name: orient(values, mirrored, turns) for name, values in best.items()}

    def _cut_patch(
        self, number: int, row: int, col: int, ms_blur: float = 1, pan_blur: float = 1
    ) -> dict[str, np.ndarray]:
        """The patch of a pair whose target begins at an MS pixel.

        ms_blur, pan_blur  shares of the variance of the sensor's blur, whose gains are raised to it
        """
        pair, side = self.pairs[number], self._side
        place = Window(row, col, side, side).finer(self.ratio)
        window = pair.read(place, self._margin)
        gains = [gain**ms_blur for gain in self.sensor.mtf]
        made = reduce_window(window, gains, self.sensor.mtf_pan**pan_blur)
        target = made.target / np.float32(self.scale.ms)
        target[:, ~made.valid] = np.nan
        return {
            "ms": made.ms / np.float32(self.scale.ms),
            "pan": made.pan[None] / np.float32(self.scale.pan),
            "target": target,
        }


def _megabytes(pairs: Sequence[Pair]) -> float:
    """What all pixels of the files take as float32."""
    sources = [source for pair in pairs for source in (pair.pan, pair.ms)]
    return sum(4 * s.bands * s.grid.height * s.grid.width for s in sources) / 2**20
