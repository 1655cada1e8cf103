"""A trained run as a sharpener: one answer per pixel, however the scene is cut into windows.

What the model makes of a pixel depends on the window around it (see `models/mmmamba.py`). So a
first pass, over windows of the training patches' size spread over the scene, collects the
statistics that the model then uses everywhere. And tiles have a margin as wide as convolutions
look and the scan remembers, and begin where its own windows and MS pixels do in the scene; what is
left of a tile's border is far below a digital number.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bandweave.errors import RunError
from bandweave.models.contract import ZeroShot
from bandweave.nn.window_statistics import Statistics, collect_statistics, freeze_statistics
from bandweave.pansharp.pair.window import PairSource, PairWindow
from bandweave.pansharp.run import SharpenRun
from bandweave.pansharp.sharpener import Sharpener
from bandweave.raster.grid import tiles
from bandweave.training.processes import best_device

TILE = 256  # PAN pixels of a tile's side, without its margin
# Windows of which statistics are collected, at most about so many. On two Landsat-7 pairs 64 of
# them give images that are 0.04 and 0.02 digital numbers (rms) from what all 156 give.
LOOKED_AT = 256


class _Tile(NamedTuple):
    """What the model is fed of a window, and where that lies on its PAN pixels."""

    top: int
    left: int
    ms: Tensor
    pan: Tensor | None
    corner: tuple[float, float]


class Trained(Sharpener):
    """A run applied to one pair.

    zero_shot   None: with PAN; else the way in which the model does without (`super_resolve` of
                the model)
    device      'cpu', 'cuda', …; None for a GPU where there is one

    Raises SceneMismatch for a pair of other bands or another ratio than the run's, ConfigError for
    a way that the run's model does not have.
    """

    single_threaded = True

    def __init__(
        self,
        run: SharpenRun,
        pair: PairSource,
        *,
        zero_shot: ZeroShot | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        run.check(pair)
        if zero_shot is not None:
            run.model.check_zero_shot(zero_shot)
        self._run, self._zero_shot = run, zero_shot
        self._device = torch.device(best_device() if device is None else device)
        self._model = run.model.to(self._device).eval()
        self._step = math.lcm(self._model.tile_step, run.ratio)
        self._around = self._model.local_reach + self._model.remembered
        height, width = pair.grid.height, pair.grid.width
        number = math.ceil(height / run.window) * math.ceil(width / run.window)
        self._share = min(LOOKED_AT / number, 1.0)
        self._statistics: Statistics = {}
        self._one_at_a_time = threading.Lock()  # as scores are taken in several threads

    @property
    def margin(self) -> int:
        """As wide as convolutions look and the scan remembers, and a tile's step."""
        return self._around + self._step

    @torch.inference_mode()
    def fit(self, windows: Iterable[PairWindow]) -> None:
        """Collect statistics, over the windows' cores cut to the training patches' size."""
        seen = 0
        with collect_statistics(self._model) as statistics:
            for window in windows:
                for tile in self._patches(window):
                    seen += 1  # an even share of them, without a pattern
                    if seen * _GOLDEN % 1 <= self._share:
                        self._image(tile)
        self._statistics = statistics

    @torch.inference_mode()
    def apply(self, window: PairWindow) -> np.ndarray:
        """(C, H, W) float32 on the window's PAN pixels; its margin is left 0."""
        out = np.zeros((len(window.ms), *window.pan.shape), np.float32)
        if not (window.pan_valid.any() and window.ms_valid.any()):
            return out
        height, width = window.window.height, window.window.width
        margin, around = window.margin, self._around
        with self._one_at_a_time, freeze_statistics(self._model, self._statistics):
            for row in range(margin, margin + height, TILE):
                for col in range(margin, margin + width, TILE):
                    bottom = min(row + TILE, margin + height)
                    right = min(col + TILE, margin + width)
                    box = row - around, col - around, bottom + around, right + around
                    tile = self._cut(window, *box)
                    image = self._image(tile)
                    inner = (
                        slice(row - tile.top, bottom - tile.top),
                        slice(col - tile.left, right - tile.left),
                    )
                    out[:, row:bottom, col:right] = image[:, *inner]
        if not np.isfinite(out).all():
            raise RunError(
                f"the run {self._run.folder.path} made values that are not finite of PAN row "
                f"{window.window.row}, column {window.window.col}; it diverged in training"
            )
        return out

    def _patches(self, window: PairWindow) -> Iterator[_Tile]:
        """The core in windows of the training patches' size, those without data left out."""
        height, width = window.window.height, window.window.width
        side = min(self._run.window, height, width)
        for place in tiles(height, width, side):
            top, left = place.row + window.margin, place.col + window.margin
            valid = window.pan_valid[top : top + side, left : left + side]
            if valid.any() and window.ms_valid.any():
                yield self._cut(window, top, left, top + side, left + side)

    def _cut(self, window: PairWindow, top: int, left: int, bottom: int, right: int) -> _Tile:
        """The tile that holds a box of the window's PAN pixels; it begins at a tile step."""
        row, col = window.window.row - window.margin, window.window.col - window.margin
        top, left = _aligned(top, row, self._step), _aligned(left, col, self._step)
        if self._zero_shot:
            bottom, right = (
                -_aligned(-end, -start, self._run.ratio)
                for end, start in ((bottom, row), (right, col))
            )
        (first, last, down), (start, stop, across) = (
            _ms_pixels(low, high, corner, self._run.ratio, count)
            for low, high, corner, count in (
                (top, bottom, window.nesting.row, window.ms.shape[1]),
                (left, right, window.nesting.col, window.ms.shape[2]),
            )
        )
        scale = self._run.scale
        ms = self._tensor(window.ms[:, first:last, start:stop], scale.ms)
        pan = None
        if not self._zero_shot:
            pan = self._tensor(window.pan[None, top:bottom, left:right], scale.pan)
        return _Tile(top, left, ms, pan, (down, across))

    def _tensor(self, values: np.ndarray, scale: float) -> Tensor:
        return torch.from_numpy(values / np.float32(scale)).to(self._device)[None]

    def _image(self, tile: _Tile) -> np.ndarray:
        """(C, H, W) in the bands' units."""
        if self._zero_shot:
            sharp = self._model.super_resolve(tile.ms, self._zero_shot)
        else:
            sharp = self._model(tile.ms, tile.pan, corner=tile.corner)
        return sharp.image[0].float().cpu().numpy() * np.float32(self._run.scale.ms)


_GOLDEN = (math.sqrt(5) - 1) / 2


def _aligned(place: int, origin: int, step: int) -> int:
    """The last place up to this one that is a multiple of `step` in the scene.

    origin   of the array in the scene
    """
    return place - (place + origin) % step


def _ms_pixels(
    low: int, high: int, corner: float, ratio: int, count: int
) -> tuple[int, int, float]:
    """The MS pixels (first, past the last) that cover PAN pixels low to high, and their corner."""
    first = max(math.floor((low - corner) / ratio + 1e-6), 0)
    last = min(math.ceil((high - corner) / ratio - 1e-6), count)
    return first, last, round(corner + ratio * first - low, 6)
