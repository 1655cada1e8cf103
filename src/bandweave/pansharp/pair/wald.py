"""Wald's protocol: a pair made coarser, so that the observed MS is the truth it should become.

Source: L. Wald, T. Ranchin, M. Mangolini, Fusion of satellite images of different spatial
resolutions: assessing the quality of resulting images, PE&RS 63(6), 1997; with the sensor's
modulation transfer function as in B. Aiazzi et al., PE&RS 72(5), 2006.

The coarser PAN is what MS pixels see of PAN, the coarser MS has pixels `ratio` times larger, and
the truth is the observed MS, on whose pixels all windows are counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import degrade, low_pass_reach
from bandweave.pansharp.pair.window import PairSource, PairWindow
from bandweave.pansharp.sensors import Sensor
from bandweave.raster.grid import PIXELS, Grid, Window

KEPT = 4  # windows that are made once for all methods, where a pair has so few


@dataclass
class ReducedWindow:
    """A window of a pair at reduced resolution: H = h·r, W = w·r, corner on corner.

    pan      (H, W) float32: PAN as MS pixels see it, on the MS grid
    ms       (C, h, w) float32: MS with pixels r times larger
    target   (C, H, W) float32: the observed MS
    valid    (H, W) bool: so are all MS and PAN pixels in the pixel of `ms` that holds it
    """

    pan: np.ndarray
    ms: np.ndarray
    target: np.ndarray
    nesting: Nesting
    valid: np.ndarray


def reduce_window(window: PairWindow, gains: Sequence[float], pan_gain: float) -> ReducedWindow:
    """Make a window coarser; its margin is cut off.

    gains      of the sensor's MS bands at the Nyquist frequency of the next coarser grid
    pan_gain   PAN's at the Nyquist frequency of the MS grid

    PAN is sampled through the window's nesting, so whatever its phase, the result nests exactly.
    MS rows and columns that fill no coarser pixel are left out. With a margin of some coarser
    pixels the filters see what lies around the window; without, its edge repeated.

    Raises ValueError for a window of less than ratio×ratio MS pixels.
    """
    r = window.nesting.ratio
    rows, cols = window.ms_core
    h, w = len(rows) // r, len(cols) // r
    if h < 1 or w < 1:
        raise ValueError(
            f"a window of {len(rows)}×{len(cols)} MS pixels has no pixel {r} times coarser; "
            f"give it {r}×{r} MS pixels at least"
        )
    top, left = int(rows[0]), int(cols[0])
    shape = window.ms_valid.shape
    pan = degrade(window.pan[None], window.nesting, (shape[0], shape[1]), [pan_gain])[0]
    crop = slice(top, top + h * r), slice(left, left + w * r)
    coarser = Nesting(r, top, left)
    valid = window.both_valid[crop]
    whole = valid.reshape(h, r, w, r).all(axis=(1, 3))
    return ReducedWindow(
        pan=np.ascontiguousarray(pan[crop]),
        ms=degrade(window.ms, coarser, (h, w), gains),
        target=np.ascontiguousarray(window.ms[:, crop[0], crop[1]]),
        nesting=Nesting(r),
        valid=valid & np.kron(whole, np.ones((r, r), bool)),
    )


class ReducedPair(PairSource):
    """A pair at reduced resolution, made by the gains of a sensor as it is read.

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
        reach = low_pass_reach(self.ratio, (*sensor.mtf, sensor.mtf_pan))  # in MS pixels
        self._margin = self.ratio * (reach + 1)
        self._kept: OrderedDict[Window, ReducedWindow] = OrderedDict()
        self._lock = Lock()

    def read(self, window: Window, margin: int = 0) -> PairWindow:
        """A window with `margin` pixels around it, as `Pair.read` gives those of a pair.

        Beyond the edges the outermost pixels are repeated.
        """
        r, (height, width) = self.ratio, self.shape
        outer = window.grow(margin)
        inside = outer.clip(height, width)
        if inside is None:
            raise ValueError(f"{window} lies outside the pair of {height}×{width} pixels")
        wanted, slots = outer.coarser(r), inside.coarser(r)
        made = self._make(slots)
        rows, cols = inside.slices((slots.row * r, slots.col * r))
        h, w = slots.height, slots.width
        whole = made.valid.reshape(h, r, w, r).all(axis=(1, 3))
        fine, coarse = inside.margins(outer), slots.margins(wanted)
        return PairWindow(
            window,
            margin,
            Nesting(r, wanted.row * r - outer.row, wanted.col * r - outer.col),
            np.pad(made.pan[rows, cols], fine, mode="edge"),
            np.pad(made.ms, ((0, 0), *coarse), mode="edge"),
            np.pad(made.valid[rows, cols], fine),
            np.pad(whole, coarse),
        )

    def read_truth(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """The observed MS (C, h, w) float32 of a window, and where it counts, (h, w) bool."""
        r = self.ratio
        slots = window.coarser(r)
        made = self._make(slots)
        rows, cols = window.slices((slots.row * r, slots.col * r))
        return made.target[:, rows, cols], made.valid[rows, cols]

    def _make(self, slots: Window) -> ReducedWindow:
        """Make a window of coarser pixels, or give it where it is one of the last few."""
        with self._lock:
            if slots in self._kept:
                self._kept.move_to_end(slots)
                return self._kept[slots]
        r = self.ratio
        seen = self.pair.read(slots.finer(r * r), self._margin)
        made = reduce_window(seen, self.sensor.mtf, self.sensor.mtf_pan)
        with self._lock:
            self._kept[slots] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made
