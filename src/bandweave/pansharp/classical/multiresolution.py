"""Multiresolution analysis: what PAN has beyond its own low-pass goes into every band.

Sources: Vivone et al., "A critical comparison among pansharpening algorithms", IEEE TGRS 53(5),
2015, for both forms, and for each low-pass L:

    added       out_k = M_k + P_k − L(P_k)
    multiplied  out_k = M_k · P_k / L(P_k)

    M_k  band k, interpolated to the PAN grid (bicubic)
    P_k  PAN with the mean and standard deviation of band k, those of PAN taken after degrading it

    hpf          added       box of PAN pixels              Chavez et al., PE&RS 57(3), 1991
    wavelet      added       à trous, cubic B-spline        Núñez et al., IEEE TGRS 37(3), 1999
    mtf-glp      added       MTF of band k, decimation and  Aiazzi et al., IEEE TGRS 40(10), 2002;
                             interpolation                  PE&RS 72(5), 2006
    mtf-glp-hpm  multiplied  as mtf-glp                     Aiazzi et al., GRSS/ISPRS workshop, 2003
    mtf-glp-cbd  added       as mtf-glp, but P_k = g_k P    Alparone et al., IEEE TGRS 45(10), 2007;
                                                            Aiazzi et al., PE&RS 72(5), 2006
    sfim         multiplied  box, of PAN as it is           Liu, Int. J. Remote Sensing 21(18), 2000

    g_k = cov(M_k, P↓) / var(P↓)    regression of band k on the degraded PAN, over the whole scene:
                                    a band that PAN does not follow gets as little detail as that

The box is 2r - 1 pixels wide, so that it is centred on its pixel at any ratio. The wavelet has
log2(r) levels, rounded. Where PAN is constant the interpolated bands are the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.ndimage import correlate1d

from bandweave.pansharp.classical.statistics import moments
from bandweave.pansharp.classical.substitution import (
    DARK,
    LEAST,
    add,
    chunks,
    deviations,
    held_ratio,
)
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import PairWindow
from bandweave.pansharp.pair.resample import lowpass, upsample
from bandweave.pansharp.sensors import Sensor

SPLINE = np.array([1, 4, 6, 4, 1], np.float32) / 16  # Núñez et al. 1999, in each direction


class Matching(NamedTuple):
    """P_k = scale_k · PAN + offset_k, each (C,) float32, and the least L(P_k) that divides."""

    scales: np.ndarray
    offsets: np.ndarray
    floors: np.ndarray


def fit_matching(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Matching:
    """Means and deviations of every band and of the degraded PAN."""
    found = moments(windows, sensor)
    spread = deviations(found.covariance)
    scales = spread[:-1] / spread[-1] if spread[-1] > 0 else np.zeros(len(spread) - 1)
    offsets = found.mean[:-1] - scales * found.mean[-1]
    floors = np.maximum(DARK * found.mean[:-1], LEAST)
    return Matching(*(values.astype(np.float32) for values in (scales, offsets, floors)))


def fit_regression(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Matching:
    """The gain of PAN's detail in every band by regression of the band on the degraded PAN."""
    found = moments(windows, sensor)
    covariance = found.covariance
    pan = covariance[-1, -1]
    gains = covariance[:-1, -1] / pan if pan > 0 else np.zeros(len(covariance) - 1)
    offsets = found.mean[:-1] - gains * found.mean[-1]
    return Matching(*(v.astype(np.float32) for v in (gains, offsets, np.zeros_like(gains))))


def fit_nothing(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> None:
    """For methods that look at a pixel's neighbours alone."""
    return None


def apply_hpf(window: PairWindow, parameters: Matching, sensor: Sensor) -> np.ndarray:
    """Chavez et al. 1991."""
    return _added(window, parameters, _box(window.pan, window.nesting.ratio))


def apply_wavelet(window: PairWindow, parameters: Matching, sensor: Sensor) -> np.ndarray:
    """Additive wavelet, Núñez et al. 1999, on every band."""
    return _added(window, parameters, _a_trous(window.pan, window.nesting.ratio))


def apply_mtf_glp(window: PairWindow, parameters: Matching, sensor: Sensor) -> np.ndarray:
    """Generalised Laplacian pyramid tailored to the MTF, Aiazzi et al. 2006."""
    image = upsample(window.ms, window.nesting, window.pan.shape)
    for places, low in _pyramids(window, sensor):
        detail = np.subtract(window.pan, low, out=low)
        for k in places:
            image[k] += detail * parameters.scales[k]
    return image


def apply_mtf_glp_hpm(window: PairWindow, parameters: Matching, sensor: Sensor) -> np.ndarray:
    """The same pyramid with high-pass modulation, Aiazzi et al. 2003; factors between 0 and 10.

    Where L(P_k) is below a thousandth of the band's mean the factor is 1.
    """
    image = upsample(window.ms, window.nesting, window.pan.shape)
    for places, low in _pyramids(window, sensor):
        for k in places:
            scale, offset, floor = (values[k] for values in parameters)
            image[k] *= held_ratio(window.pan * scale + offset, low * scale + offset, floor)
    return image


def apply_sfim(window: PairWindow, parameters: None, sensor: Sensor) -> np.ndarray:
    """Smoothing-filter-based intensity modulation, Liu 2000; factors between 0 and 10."""
    image = upsample(window.ms, window.nesting, window.pan.shape)
    low = _box(window.pan, window.nesting.ratio)
    image *= held_ratio(window.pan.copy(), low, np.float32(LEAST))
    return image


def box_reach(ratio: int) -> int:
    """PAN pixels that a box reaches from its centre."""
    return ratio - 1


def a_trous_reach(ratio: int) -> int:
    """PAN pixels that all levels of the wavelet reach."""
    return 2 * (2 ** _levels(ratio) - 1)


def _added(window: PairWindow, parameters: Matching, low: np.ndarray) -> np.ndarray:
    """The interpolated bands with PAN's detail, weighed for each; `low` is used up."""
    image = upsample(window.ms, window.nesting, window.pan.shape)
    detail = np.subtract(window.pan, low, out=low)
    for bands, piece in chunks(image, detail):
        for band, scale in zip(bands, parameters.scales, strict=True):
            add(band, piece, scale)
    return image


def _pyramids(window: PairWindow, sensor: Sensor) -> Iterator[tuple[list[int], np.ndarray]]:
    """The low-pass of PAN (H, W) for each gain of the MTF, and the bands that have this gain."""
    for gain in dict.fromkeys(sensor.mtf):
        places = [k for k, other in enumerate(sensor.mtf) if other == gain]
        yield places, lowpass(window.pan[None], window.nesting, [gain])[0]


def _box(pan: np.ndarray, ratio: int) -> np.ndarray:
    """Mean of the square around each pixel."""
    width = 2 * box_reach(ratio) + 1
    return _separable(pan, np.full(width, 1 / width, np.float32))


def _a_trous(pan: np.ndarray, ratio: int) -> np.ndarray:
    """The approximation that is left after log2(r) levels."""
    for level in range(_levels(ratio)):
        kernel = np.zeros(4 * 2**level + 1, np.float32)
        kernel[:: 2**level] = SPLINE
        pan = _separable(pan, kernel)
    return pan


def _levels(ratio: int) -> int:
    return max(round(math.log2(ratio)), 1)


def _separable(pan: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Both directions, edges replicated; sums in float64, as SciPy does."""
    rows = correlate1d(pan, kernel, axis=0, output=np.float32, mode="nearest")
    return correlate1d(rows, kernel, axis=1, output=np.float32, mode="nearest")
