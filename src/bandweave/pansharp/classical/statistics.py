"""Statistics of a whole pair, gathered window by window: means, covariances and a few pixels.

They are taken at the scale of the multispectral image, on its own pixels and on PAN degraded to
them through the sensor's MTF, so that nothing is compared across scales. Every multispectral pixel
counts once, in the window that its centre lies in; the margins only feed the filters. So any
tiling gives the same numbers, to rounding, and windows can be shared among processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bandweave.pansharp.pair.resample import degrade
from bandweave.pansharp.pair.window import PairWindow
from bandweave.pansharp.sensors import Sensor

SEEN = 0.5  # share of PAN's pixels, weighted as they are blurred, that must be valid


@dataclass(frozen=True)
class Moments:
    """Mean and scatter of pixels: of C bands and, last, of the degraded PAN.

    count    pixels
    mean     (C + 1,) float64
    scatter  (C + 1, C + 1) float64, sum of the products of deviations from the mean
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """The moments of pixels (C + 1, n)."""
        variables, count = values.shape
        if not count:
            return cls(0, np.zeros(variables), np.zeros((variables, variables)))
        wide = values.astype(np.float64)
        mean = wide.mean(axis=1)
        wide -= mean[:, None]
        return cls(count, mean, wide @ wide.T)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of pixels (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """(C + 1, C + 1), divided by the count; what is only rounding is 0."""
        covariance = self.scatter / max(self.count, 1)
        noise = np.sqrt(np.diagonal(covariance)) <= 1e-6 * np.abs(self.mean)
        covariance[noise] = 0
        covariance[:, noise] = 0
        return covariance

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviations (C + 1,) of the bands and of PAN."""
        return np.sqrt(np.diagonal(self.covariance))

    def principal(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances, falling, and unit vectors (C, C), a row each, of the bands' components.

        A component and PAN rise together.
        """
        covariance = self.covariance
        variances, columns = np.linalg.eigh(covariance[:-1, :-1])
        vectors = columns.T[::-1]
        along = vectors @ covariance[:-1, -1]
        sums = vectors.sum(axis=1)
        signs = np.where(along != 0, np.sign(along), np.where(sums < 0, -1, 1))
        return np.maximum(variances[::-1], 0), vectors * signs[:, None]


def measure_moments(windows: Iterable[PairWindow], sensor: Sensor) -> Moments:
    """The moments of all valid pixels of all windows."""
    return measure_and_sample(windows, sensor, size=0)[0]


def measure_and_sample(
    windows: Iterable[PairWindow], sensor: Sensor, size: int, seed: int = 0
) -> tuple[Moments, np.ndarray]:
    """Moments, and the spectra (bands, at most `size`) of pixels drawn at random from all windows.

    A pixel is drawn by a hash of its place, so that the draw does not depend on the windows.
    """
    total = Moments.of(np.zeros((len(sensor.bands) + 1, 0)))
    drawn = np.zeros((len(sensor.bands), 0), np.float32)
    marks = np.zeros(0, np.uint64)
    for values, rows, cols in _pixels(windows, sensor):
        total = total.merge(Moments.of(values))
        if not size:
            continue
        marks = np.concatenate([marks, _hash(rows, cols, seed)])
        drawn = np.concatenate([drawn, values[:-1]], axis=1)
        chosen = np.argsort(marks, kind="stable")[:size]
        marks, drawn = marks[chosen], drawn[:, chosen]
    return total, drawn


def _pixels(
    windows: Iterable[PairWindow], sensor: Sensor
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Valid pixels (bands + 1, n) of each window, PAN last, and their MS rows and columns."""
    for window in windows:
        (rows, cols), (top, left) = window.ms_core, window.ms_origin
        if not len(rows) or not len(cols) or not window.ms_valid.any():
            continue
        pan, seen = _degraded_pan(window, sensor)
        inner = np.ix_(rows, cols)
        inside_rows, inside_cols = (window.ms_valid[inner] & seen[inner]).nonzero()
        i, j = rows[inside_rows], cols[inside_cols]
        yield np.concatenate([window.ms[:, i, j], pan[None, i, j]]), top + i, left + j


def _degraded_pan(window: PairWindow, sensor: Sensor) -> tuple[np.ndarray, np.ndarray]:
    """PAN (h, w) as the multispectral bands would see it, and where enough of it is valid."""
    gain = float(sensor.weights @ np.asarray(sensor.mtf))
    shape = window.ms_valid.shape
    if window.pan_valid.all():
        pan = degrade(window.pan[None], window.nesting, shape, [gain])[0]
        return pan, np.ones(shape, bool)
    both = np.stack([np.where(window.pan_valid, window.pan, 0), window.pan_valid])
    pan, share = degrade(both.astype(np.float32), window.nesting, shape, [gain, gain])
    seen = share >= SEEN
    return np.divide(pan, share, out=np.zeros_like(pan), where=seen), seen


def _hash(row: np.ndarray, col: np.ndarray, seed: int) -> np.ndarray:
    """Well-mixed 64 bits of each place (Steele, Lea and Flood 2014: SplitMix64)."""
    bits = (row << 32 ^ col).view(np.uint64)
    bits = bits + np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % 2**64)
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return bits ^ bits >> np.uint64(31)
