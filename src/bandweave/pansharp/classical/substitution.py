"""Component substitution: an intensity made of the bands gives way to PAN.

Sources: Vivone et al., "A critical comparison among pansharpening algorithms", IEEE TGRS 53(5),
2015, whose general form of them all is

    out_k = M_k + g_k (P′ − I),    I = Σ_k w_k M_k

    M_k   band k, interpolated to the PAN grid (bicubic)
    P′    PAN with the mean and standard deviation of I, those of PAN taken after degrading it
    w, g  weights and gains, by method:

    ihs     w equal, g = 1                           Tu et al., Information Fusion 2(3), 2001
    pca     w = g = first eigenvector                Chavez and Kwarteng, PE&RS 55(3), 1989
    gs      w equal, g_k = cov(I, M_k) / var(I)      Laben and Brower, US patent 6,011,875, 2000
    gsa     w by regression of PAN, g as in gs       Aiazzi, Baronti and Selva, TGRS 45(10), 2007
    brovey  out_k = M_k P′ / I, w equal              Gillespie, Kahle and Walker, RSE 22(3), 1987

Equal weights are those of the bands that PAN covers; the others have none. In GSA the regression
of the degraded PAN on the bands and a constant decides alone, and its own scale is kept, P′ = P.
Where PAN or I is constant there is nothing to substitute: the interpolated bands are the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bandweave.pansharp.classical.statistics import Moments, moments
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import PairWindow
from bandweave.pansharp.pair.resample import upsample
from bandweave.pansharp.sensors import Sensor

CHUNK = 1 << 14  # pixels that stay in the cache while all bands are computed
DARK = 1e-3  # of the mean: an intensity below it says nothing of ratios
LEAST = 1e-30  # of what divides, where the mean is not positive
STEEPEST = 10.0  # a band is multiplied by no more


class Substitution(NamedTuple):
    """Weights and gains (C,) float32, and P′ = scale · PAN + offset."""

    weights: np.ndarray
    gains: np.ndarray
    scale: np.float32
    offset: np.float32


class Modulation(NamedTuple):
    """Weights (C,) float32, P′ = scale · PAN + offset, and the least intensity that is divided."""

    weights: np.ndarray
    scale: np.float32
    offset: np.float32
    floor: np.float32


Weigh = Callable[[Moments, Sensor], tuple[np.ndarray, np.ndarray]]


def fit_ihs(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Substitution:
    """Generalised IHS, Tu et al. 2001: the same detail in every band."""
    return _matched(moments(windows, sensor), sensor, _ihs)


def fit_pca(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Substitution:
    """PCA, Chavez and Kwarteng 1989: the first component of the bands' covariance gives way."""
    return _matched(moments(windows, sensor), sensor, _pca)


def fit_gs(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Substitution:
    """Gram-Schmidt, Laben and Brower 2000, with the mean of the covered bands for intensity."""
    return _matched(moments(windows, sensor), sensor, _gs)


def fit_gsa(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Substitution:
    """Adaptive Gram-Schmidt, Aiazzi et al. 2007: weights by least squares at MS scale."""
    found = moments(windows, sensor)
    covariance = found.covariance
    weights = _regression(covariance)
    gains = _slopes(covariance, weights)
    mean = found.mean
    return _substitution(weights, gains, 1.0, float(weights @ mean[:-1] - mean[-1]))


def fit_brovey(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Modulation:
    """Brovey, Gillespie et al. 1987, with PAN matched to the intensity."""
    found = moments(windows, sensor)
    weights = sensor.weights
    scale, offset, mean = _matching(found, weights)
    floor = max(DARK * mean, LEAST)
    if not scale:  # a flat PAN, or a flat intensity: no intensity is high enough to be divided
        floor = math.inf
    return Modulation(
        weights.astype(np.float32), np.float32(scale), np.float32(offset), np.float32(floor)
    )


def apply_bicubic(window: PairWindow, parameters: None, sensor: Sensor) -> np.ndarray:
    """The bands interpolated to the PAN grid by cubic convolution, Keys 1981."""
    return upsample(window.ms, window.nesting, window.pan.shape)


def apply_substitution(window: PairWindow, parameters: Substitution, sensor: Sensor) -> np.ndarray:
    """The general form, in place on the interpolated bands."""
    image = upsample(window.ms, window.nesting, window.pan.shape)
    if not parameters.gains.any():
        return image
    for bands, pan in chunks(image, window.pan):
        detail = parameters.weights @ bands  # (n,) intensity
        np.negative(detail, out=detail)
        detail += parameters.offset
        add(detail, pan, parameters.scale)
        for band, gain in zip(bands, parameters.gains, strict=True):
            add(band, detail, gain)
    return image


def apply_brovey(window: PairWindow, parameters: Modulation, sensor: Sensor) -> np.ndarray:
    """Bands times P′ / I, held to 0 … 10; 1 where I is below a thousandth of its mean."""
    image = upsample(window.ms, window.nesting, window.pan.shape)
    if np.isinf(parameters.floor):
        return image
    for bands, pan in chunks(image, window.pan):
        intensity = parameters.weights @ bands
        matched = pan * parameters.scale
        matched += parameters.offset
        bands *= held_ratio(matched, intensity, parameters.floor)
    return image


# What methods share -------------------------------------------------------------------------------


def chunks(image: np.ndarray, pan: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Views (C, n) of an image and (n,) of PAN, of as many pixels as the cache holds."""
    bands, flat = image.reshape(len(image), -1), pan.reshape(-1)
    if not np.shares_memory(bands, image):
        raise ValueError("the image must be contiguous to be changed in place")
    for start in range(0, flat.size, CHUNK):
        piece = slice(start, start + CHUNK)
        yield bands[:, piece], flat[piece]


def add(target: np.ndarray, values: np.ndarray, factor: np.float32) -> None:
    """target += factor · values, in place."""
    if factor == 1:
        target += values
    elif factor:
        target += values * factor


def held_ratio(numerator: np.ndarray, denominator: np.ndarray, floor: np.float32) -> np.ndarray:
    """Their ratio between 0 and STEEPEST, in place of the numerator; 1 where there is none."""
    dark = denominator < floor
    np.divide(numerator, denominator, out=numerator, where=~dark)
    numerator[dark] = 1
    return np.clip(numerator, 0, STEEPEST, out=numerator)


def deviations(covariance: np.ndarray) -> np.ndarray:
    """Standard deviations of what the covariance matrix is of."""
    return np.sqrt(np.diagonal(covariance))


def principal(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances, falling, and unit vectors (C, C), a row each, of the bands' components.

    covariance (C + 1, C + 1), PAN last: a component and PAN rise together.
    """
    variances, columns = np.linalg.eigh(covariance[:-1, :-1])
    vectors = columns.T[::-1]
    along = vectors @ covariance[:-1, -1]
    sums = vectors.sum(axis=1)
    signs = np.where(along != 0, np.sign(along), np.where(sums < 0, -1, 1))
    return np.maximum(variances[::-1], 0), vectors * signs[:, None]


def _ihs(found: Moments, sensor: Sensor) -> tuple[np.ndarray, np.ndarray]:
    return sensor.weights, np.ones(len(sensor.bands))


def _pca(found: Moments, sensor: Sensor) -> tuple[np.ndarray, np.ndarray]:
    _, vectors = principal(found.covariance)
    return vectors[0], vectors[0]


def _gs(found: Moments, sensor: Sensor) -> tuple[np.ndarray, np.ndarray]:
    return sensor.weights, _slopes(found.covariance, sensor.weights)


def _matched(found: Moments, sensor: Sensor, weigh: Weigh) -> Substitution:
    """PAN is given the mean and deviation of the intensity; nothing is added if one is constant."""
    weights, gains = weigh(found, sensor)
    scale, offset, _ = _matching(found, weights)
    return _substitution(weights, gains if scale else np.zeros_like(gains), scale, offset)


def _matching(found: Moments, weights: np.ndarray) -> tuple[float, float, float]:
    """Scale and offset that give PAN the intensity's mean and deviation, and that mean."""
    covariance = found.covariance
    pan = float(covariance[-1, -1])
    intensity = float(weights @ covariance[:-1, :-1] @ weights)
    mean = float(weights @ found.mean[:-1])
    scale = (intensity / pan) ** 0.5 if pan > 0 and intensity > 0 else 0.0
    return scale, mean - scale * float(found.mean[-1]), mean


def _regression(covariance: np.ndarray) -> np.ndarray:
    """Least-squares weights of the bands for PAN; the shortest where several are as good."""
    spread = deviations(covariance)[:-1]
    known = spread > 0
    weights = np.zeros(len(spread))
    if known.any():
        scaled = covariance[:-1, :-1][np.ix_(known, known)] / np.outer(spread[known], spread[known])
        target = covariance[:-1, -1][known] / spread[known]
        weights[known] = np.linalg.pinv(scaled, rcond=1e-9, hermitian=True) @ target
        weights[known] /= spread[known]
    return weights


def _slopes(covariance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Regression of every band on the intensity: cov(I, M_k) / var(I), 0 where I is constant."""
    with_bands = covariance[:-1, :-1] @ weights
    variance = float(weights @ with_bands)
    return with_bands / variance if variance > 0 else np.zeros_like(with_bands)


def _substitution(
    weights: np.ndarray, gains: np.ndarray, scale: float, offset: float
) -> Substitution:
    numbers = np.float32(scale), np.float32(offset)
    return Substitution(weights.astype(np.float32), gains.astype(np.float32), *numbers)
