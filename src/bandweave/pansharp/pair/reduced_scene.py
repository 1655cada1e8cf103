"""A pair at reduced resolution, read by window as a pair is: Wald's protocol on scenes of any size.

Its PAN is what MS pixels see of the PAN, its MS has pixels `ratio` times larger, and its truth is
the observed MS, on whose pixels all of its windows are counted. It is made as it is read.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock

import numpy as np

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.reduced import ReducedPair, reduced
from bandweave.pansharp.pair.window import PairSource, PairWindow
from bandweave.pansharp.scores.full import low_pass_reach
from bandweave.pansharp.sensors import Sensor
from bandweave.raster.grid import PIXELS, Grid, Window

KEPT = 4  # windows that are made once for all methods, where a scene has so few


class ReducedScene(PairSource):
    """The pair at reduced resolution, by the gains of a sensor.

    shape    rows and columns: those of the MS that fill coarser pixels; `grid` has the same
    nesting  corner on corner, whatever the pair's

    Raises ValueError for a pair of less than ratio×ratio MS pixels.
    """

    def __init__(self, pair: Pair, sensor: Sensor) -> None:
        self.pair, self.sensor = pair, sensor
        self.ratio, self.bands, self.nesting = pair.ratio, pair.bands, Nesting(pair.ratio)
        h, w = (length // self.ratio for length in pair.ms_shape)
        if not h or not w:
            raise ValueError(
                f"{pair.ms_shape[0]}×{pair.ms_shape[1]} MS pixels cannot be scored at reduced "
                f"resolution: there is no pixel {self.ratio} times coarser"
            )
        self.shape = h * self.ratio, w * self.ratio
        self.names, self.grid = pair.names, Grid(*self.shape, PIXELS)
        self.scaled = pair.scaled
        reach = low_pass_reach(self.ratio, sensor.mtf, sensor.mtf_pan)  # in MS pixels
        self._margin = self.ratio * (reach + 1)
        self._made: OrderedDict[Window, ReducedPair] = OrderedDict()
        self._lock = Lock()

    def read(self, window: Window, margin: int = 0) -> PairWindow:
        """A window with `margin` pixels around it, as `Pair.read` gives those of a pair.

        Beyond the edges the outermost pixels are repeated.
        """
        r, (height, width) = self.ratio, self.shape
        outer = _grown(window, margin)
        inside = outer.clip(height, width)
        if inside is None:
            raise ValueError(f"{window} lies outside the scene of {height}×{width} pixels")
        wanted, slots = _slots(outer, r), _slots(inside, r)
        made = self._at(slots)
        rows, cols = inside.slices((slots.row * r, slots.col * r))
        h, w = slots.height, slots.width
        whole = made.valid.reshape(h, r, w, r).all(axis=(1, 3))
        fine, coarse = _around(inside, outer), _around(slots, wanted)
        return PairWindow(
            window,
            margin,
            Nesting(r, wanted.row * r - outer.row, wanted.col * r - outer.col),
            np.pad(made.pan[rows, cols], fine, mode="edge"),
            np.pad(made.ms, ((0, 0), *coarse), mode="edge"),
            np.pad(made.valid[rows, cols], fine),
            np.pad(whole, coarse),
        )

    def truth(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """The observed MS (C, h, w) float32 of a window, and where it counts, (h, w) bool."""
        r = self.ratio
        slots = _slots(window, r)
        made = self._at(slots)
        rows, cols = window.slices((slots.row * r, slots.col * r))
        return made.target[:, rows, cols], made.valid[rows, cols]

    def _at(self, slots: Window) -> ReducedPair:
        """A window of coarser pixels; the last few are kept."""
        with self._lock:
            if slots in self._made:
                self._made.move_to_end(slots)
                return self._made[slots]
        r = self.ratio
        seen = self.pair.read(slots.finer(r * r), self._margin)
        made = reduced(seen, self.sensor.mtf, self.sensor.mtf_pan)
        with self._lock:
            self._made[slots] = made
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        return made


def _grown(window: Window, margin: int) -> Window:
    return Window(
        window.row - margin,
        window.col - margin,
        window.height + 2 * margin,
        window.width + 2 * margin,
    )


def _around(inner: Window, outer: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels of a window that lie before and after another in it, along rows and columns."""
    above, left = inner.row - outer.row, inner.col - outer.col
    below = outer.height - inner.height - above
    return (above, below), (left, outer.width - inner.width - left)


def _slots(window: Window, ratio: int) -> Window:
    """The coarser pixels that a window touches."""
    top, left = window.row // ratio, window.col // ratio
    bottom = math.ceil((window.row + window.height) / ratio)
    right = math.ceil((window.col + window.width) / ratio)
    return Window(top, left, bottom - top, right - left)
