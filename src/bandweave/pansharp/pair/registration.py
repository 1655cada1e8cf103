"""How far an MS image lies off its PAN image.

In each of some windows, spread over the scene, PAN is degraded to the MS pixels and its detail
(what is left without a wide mean) compared with the detail of the MS bands, by the multiple
correlation: that of PAN with the combination of the bands that resembles it most. A search over
whole MS pixels finds the shift roughly. It is refined as in Lucas and Kanade, An iterative image
registration technique with an application to stereo vision, IJCAI 1981: least squares of PAN at the
present shift on the bands and on PAN's own derivatives. Degrading gives those exactly at any
phase; MS is never interpolated. The scene's shift is the median of the windows that agree.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import degrade
from bandweave.pansharp.pair.window import PairWindow
from bandweave.pansharp.threads import map_ordered
from bandweave.raster.grid import Window, spread_windows

log = logging.getLogger(__name__)

WORTH_MENTIONING = 0.25  # PAN pixels of misregistration
SIDE = (40, 128)  # MS pixels of a window: at least, where there are so many, and at most
WINDOWS = 5  # along each side of the scene, at most
REACH = 6  # MS pixels by which the two may be off
GAIN = (
    0.3  # at the MS grid's Nyquist frequency, of whatever sensor: the phase does not depend on it
)
WIDE = 9  # MS pixels of the mean that is not detail
FEWEST = 144  # valid MS pixels of a window that says something
LIKENESS = 0.5  # correlation below which two windows are not alike
SURE = 0.25  # PAN pixels of standard error above which a window says nothing
STEPS = 8
VARIES = 0.5  # MS pixels between the shifts of windows, from which one for all is not enough
FEW = 3  # windows, of which it can be said whether the shift varies
ODD = 8  # one in so many windows may be far off without the shift being said to vary


@dataclass(frozen=True)
class Shift:
    """How much further down and right things lie on PAN than the pair says, in PAN pixels.

    Added to the MS corner it puts MS in place; PAN itself would have to be moved the other way.

    row, col       the median over the windows; 0 where nothing could be measured
    spread         median distance of the windows' shifts from it, in PAN pixels
    before, after  correlation of the details of degraded PAN and of the MS bands' best
                   combination, at shift 0 and at this one; NaN where nothing could be measured
    windows        how many measured it, of `looked` that were read
    low, high      (row, col): between which the shifts of the measured windows lie, whether they
                   agree or not, but for one in eight, the farthest off; NaN where none was measured
    """

    row: float
    col: float
    spread: float
    before: float
    after: float
    windows: int
    looked: int
    low: tuple[float, float] = (math.nan, math.nan)
    high: tuple[float, float] = (math.nan, math.nan)
    ratio: int = 2

    @property
    def told(self) -> bool:
        """Enough windows measured it to tell whether it varies."""
        return self.windows >= FEW and not math.isnan(self.low[0])

    @property
    def variation(self) -> float:
        """PAN pixels by which the shift varies over the scene, in the direction where it does more.

        0 where it is not told.
        """
        if not self.told:
            return 0.0
        return max(self.high[0] - self.low[0], self.high[1] - self.low[1])

    @property
    def varies(self) -> bool:
        """One shift for the whole scene leaves parts of it off."""
        return self.variation >= VARIES * self.ratio

    @property
    def measured(self) -> bool:
        """At least one window could be measured."""
        return self.windows > 0

    def __str__(self) -> str:
        if not self.measured:
            return (
                f"no shift could be measured: in none of {self.looked} windows do PAN and MS share "
                "enough detail"
            )
        down = "lower" if self.row > 0 else "higher"
        across = "right" if self.col > 0 else "left"
        varied = f"; over the scene it varies by {self.variation:.2f} px" if self.told else ""
        return (
            f"on PAN things lie {abs(self.row):.2f} PAN pixels {down} and {abs(self.col):.2f} "
            f"further {across} than by MS (±{self.spread:.2f} in {self.windows} of {self.looked} "
            f"windows; correlation {self.before:.3f} before, {self.after:.3f} after){varied}"
        )

    def tags(self, *, corrected: bool) -> dict[str, str]:
        """The shift in PAN pixels, and what was done about it, as a file's tags."""
        if not self.measured:
            return {"shift": "not measured"}
        return {
            "shift": f"{self.row:.3f} down, {self.col:.3f} right, in PAN pixels",
            "shift_varies": f"{self.variation:.3f} PAN pixels over the scene",
            "registered": "yes" if corrected else "no",
        }

    @property
    def doubt(self) -> str:
        """What a user should know of a shift that varies over the scene; '' where it does not."""
        if not self.varies:
            return ""
        (top, left), (bottom, right) = self.low, self.high
        return (
            f"the shift between PAN and MS varies over the scene by {self.variation:.1f} PAN "
            f"pixels: from {top:+.1f} to {bottom:+.1f} down, from {left:+.1f} to {right:+.1f} to "
            f"the right; one shift for all of it leaves edges up to {self.variation / 2:.1f} px "
            f"off: put both files on one grid by the same elevation model first"
        )


def register_pair(pair: Pair, *, correct: bool) -> tuple[Pair, Shift]:
    """Measure how far PAN and MS are off, say so, and correct it if asked."""
    shift = measure_shift(pair)
    if shift.measured and correct:
        log.info("%s; corrected", shift)
    elif max(abs(shift.row), abs(shift.col)) >= WORTH_MENTIONING:
        log.warning("%s; `register` corrects it", shift)
    else:
        log.info("%s", shift)
    if shift.varies:
        log.warning("%s", shift.doubt)
    return (correct_shift(pair, shift) if correct else pair), shift


def correct_shift(pair: Pair, shift: Shift) -> Pair:
    """The pair with `shift` corrected; what is read of it lies in place, nothing is resampled."""
    if not shift.measured:
        return pair
    moved = pair.move(shift.row, shift.col)
    moved.notes.append(f"registered: {shift}")
    return moved


def measure_shift(pair: Pair) -> Shift:
    """Measure how far PAN and MS are off; at most 25 windows are read, whatever the scene's size.

    Shifts up to 6 MS pixels are found.
    """
    places = _choose_windows(pair)
    windows = map_ordered(lambda place: _measure_window(pair, place), places)
    found = [one for one in windows if one is not None]
    kept = _drop_outliers(found)
    if not kept:
        return Shift(0.0, 0.0, math.nan, math.nan, math.nan, 0, len(places))
    row, col, before, after = (float(np.median(values)) for values in zip(*kept, strict=True))
    spread = float(np.median([math.hypot(one.row - row, one.col - col) for one in kept]))
    most = _drop_odd(found)
    low, high = (tuple(edge(most, axis=0).tolist()) for edge in (np.min, np.max))
    return Shift(row, col, spread, before, after, len(kept), len(places), low, high, pair.ratio)


class _Found(NamedTuple):
    """The shift that one window tells, and the likeness before and after it."""

    row: float
    col: float
    before: float
    after: float


def _choose_windows(pair: Pair) -> list[Window]:
    """Windows on the pair's grid, evenly spread, their borders on those of MS pixels."""
    sizes = [min(max(count // 3, SIDE[0]), SIDE[1], count) for count in pair.ms_shape]
    numbers = [
        min(WINDOWS, max(round(count / size), 1))
        for count, size in zip(pair.ms_shape, sizes, strict=True)
    ]
    return [window.finer(pair.ratio) for window in spread_windows(pair.ms_shape, sizes, numbers)]


def _drop_outliers(found: list[_Found]) -> list[_Found]:
    """The windows that lie within three times the median distance from the median."""
    if not found:
        return []
    places = np.array([(one.row, one.col) for one in found])
    away = np.linalg.norm(places - np.median(places, axis=0), axis=1)
    limit = 3 * 1.4826 * np.median(away) + 0.1
    return [one for one, distance in zip(found, away, strict=True) if distance <= limit]


def _drop_odd(found: list[_Found]) -> np.ndarray:
    """Shifts (windows, 2) without one in ODD, the farthest from the median."""
    places = np.array([(one.row, one.col) for one in found])
    away = np.linalg.norm(places - np.median(places, axis=0), axis=1)
    return places[np.argsort(away, kind="stable")[: len(places) - len(places) // ODD]]


class _Details:
    """The details of one window, of which PAN's depend on the shift.

    valid   (h, w) bool: the pixels that count, without the margin
    basis   (bands, pixels) orthonormal, of the MS bands' details
    """

    def __init__(self, window: PairWindow, margin: int) -> None:
        self._window, self._margin = window, margin
        self._ratio = window.nesting.ratio
        inner = slice(margin, -margin)
        seen = self._degrade(window.pan_valid.astype(np.float32), 0, 0) > 0.98
        self.valid = (window.ms_valid & seen)[inner, inner]
        details = _detail(window.ms.astype(np.float64))[:, inner, inner][:, self.valid]
        details -= details.mean(axis=1, keepdims=True) if self.valid.any() else 0
        flat = np.linalg.norm(details, axis=1) <= 1e-6 * np.linalg.norm(window.ms, axis=(1, 2))
        self.basis = np.linalg.qr(details[~flat].T)[0].T if not flat.all() else details[:0]

    def pan(self, row: float, col: float, offset: tuple[int, int] = (0, 0)) -> np.ndarray:
        """PAN's detail (pixels,) at a shift in PAN pixels, and read some MS pixels further on."""
        return self._read(_detail(self._degrade(self._window.pan, row, col)), offset)

    def search(self) -> tuple[float, float]:
        """The shift, in PAN pixels but of whole MS pixels, at which PAN is most alike."""
        pan = _detail(self._degrade(self._window.pan, 0, 0))
        near = range(-REACH, REACH + 1)
        alike = {(i, j): self.likeness(self._read(pan, (i, j))) for i in near for j in near}
        row, col = max(alike, key=lambda place: (alike[place], -abs(place[0]) - abs(place[1])))
        return float(row * self._ratio), float(col * self._ratio)

    def likeness(self, pan: np.ndarray) -> float:
        """The multiple correlation of PAN's detail (pixels,) and the bands'."""
        norm = np.linalg.norm(pan)
        # einsum starts no threads, which would cost more than such small sums
        return float(np.linalg.norm(np.einsum("bp,p", self.basis, pan)) / norm) if norm > 0 else 0.0

    def step(self, row: float, col: float) -> tuple[np.ndarray, float]:
        """The way (2,) from a shift to a better one, and the larger of its standard errors."""
        slopes = [
            self.pan(row + dr, col + dc) - self.pan(row - dr, col - dc)
            for dr, dc in ((0.5, 0.0), (0.0, 0.5))
        ]
        pan, *rest = (
            one - self.basis.T @ (self.basis @ one) for one in (self.pan(row, col), *slopes)
        )
        regressors = -np.stack(rest, axis=1)
        inverse = np.linalg.pinv(regressors.T @ regressors)
        way = inverse @ (regressors.T @ pan)
        left = pan - regressors @ way
        variance = float(left @ left) / max(len(pan) - len(self.basis) - 2, 1)
        error = np.sqrt(np.diag(inverse).max() * variance)
        if np.linalg.matrix_rank(regressors.T @ regressors) < 2:  # edges in one direction alone
            error = np.inf
        return way, float(error)

    def _degrade(self, image: np.ndarray, row: float, col: float) -> np.ndarray:
        nesting, (h, w) = self._window.nesting.move(row, col), self._window.ms_valid.shape
        return degrade(image[None], nesting, (h, w), [GAIN])[0].astype(np.float64)

    def _read(self, image: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
        top, left = (self._margin + value for value in offset)
        h, w = self.valid.shape
        values = image[top : top + h, left : left + w][self.valid]
        return values - values.mean()


def _measure_window(pair: Pair, place: Window) -> _Found | None:
    """The shift of a window; None where it is too empty, too flat, or unlike PAN at any shift."""
    margin = REACH + WIDE
    details = _Details(pair.read(place, margin * pair.ratio), margin)
    if details.valid.mean() < 0.5 or details.valid.sum() < FEWEST or not len(details.basis):
        return None
    row, col = details.search()
    for _ in range(STEPS):
        way, error = details.step(row, col)
        longest = float(np.abs(way).max())
        row, col = (np.array([row, col]) + way * min(1, pair.ratio / max(longest, 1e-9))).tolist()
        if max(abs(row), abs(col)) > REACH * pair.ratio:
            return None
        if longest < 0.005:
            break
    after = details.likeness(details.pan(row, col))
    if longest > 0.1 or error > SURE or after < LIKENESS:
        return None
    return _Found(row, col, details.likeness(details.pan(0, 0)), after)


def _detail(image: np.ndarray) -> np.ndarray:
    """An image (..., h, w) without its mean over WIDE×WIDE pixels."""
    size = (1,) * (image.ndim - 2) + (WIDE, WIDE)
    return image - ndimage.uniform_filter(image, size, mode="nearest")
