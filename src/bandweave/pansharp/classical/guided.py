"""GFPCA: PAN guides the sharpening of the first principal components.

Source: Liao et al., "Processing of multiresolution thermal hyperspectral and digital color data",
IEEE JSTARS 8(6), 2015, and "Two-stage fusion of thermal hyperspectral and visible RGB
image by PCA and guided filter", WHISPERS 2015; the filter is He, Sun and Tang, "Guided image
filtering", IEEE TPAMI 35(6), 2013, eq. (5), (6) and (8).

    q    = mean(a) P + mean(b)                  the filtered component
    a    = cov(P, c) / (var(P) + ε)             in a box around each PAN pixel
    b    = mean(c) − a mean(P)
    out  = M + Σ_k v_k (q_k − c_k)              over the first components

    M  bands interpolated to the PAN grid (bicubic); c_k = v_kᵀ (M − mean) component k of them

The first components are those that hold SHARE of the bands' variance, the others stay interpolated.
The box spans 2r + 1 pixels and ε is EPSILON of PAN's variance. These three are choices made here: a
wider box or more components blur the bands that PAN does not follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from bandweave.pansharp.classical.statistics import moments
from bandweave.pansharp.classical.substitution import principal
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import PairWindow
from bandweave.pansharp.pair.resample import upsample
from bandweave.pansharp.sensors import Sensor

SHARE = 0.9  # of the variance
EPSILON = 1e-4  # of PAN's variance: He et al. use 1e-2² to 1e-1² of a range of 1


class Components(NamedTuple):
    """Unit vectors (k, C) of the first components, mean of the bands (C,) and PAN's; ε."""

    vectors: np.ndarray
    mean: np.ndarray
    pan_mean: np.float32
    epsilon: np.float32


def fit_gfpca(windows: Iterable[PairWindow], sensor: Sensor, nesting: Nesting) -> Components:
    """Components of the bands' covariance; none where the bands or PAN are constant."""
    found = moments(windows, sensor)
    covariance = found.covariance
    variances, vectors = principal(covariance)
    count = 0
    if variances.sum() > 0 and covariance[-1, -1] > 0:
        count = int(np.searchsorted(np.cumsum(variances) / variances.sum(), SHARE)) + 1
    return Components(
        vectors[: min(count, len(vectors))].astype(np.float32),
        found.mean[:-1].astype(np.float32),
        np.float32(found.mean[-1]),
        np.float32(EPSILON * covariance[-1, -1]),
    )


def apply_gfpca(window: PairWindow, parameters: Components, sensor: Sensor) -> np.ndarray:
    """Filter each component and put back what it gained."""
    image = upsample(window.ms, window.nesting, window.pan.shape)
    if not len(parameters.vectors):
        return image
    size = 2 * box_reach(window.nesting.ratio) + 1
    guide = window.pan - parameters.pan_mean
    guide_mean = _mean(guide, size)
    variance = _mean(guide * guide, size) - guide_mean * guide_mean
    np.maximum(variance, 0, out=variance)
    variance += parameters.epsilon
    components = np.tensordot(parameters.vectors, image, axes=1)
    components -= (parameters.vectors @ parameters.mean)[:, None, None]
    for component, vector in zip(components, parameters.vectors, strict=True):
        mean = _mean(component, size)
        slope = (_mean(guide * component, size) - guide_mean * mean) / variance
        gained = _mean(slope, size) * guide
        gained += _mean(mean - slope * guide_mean, size)
        gained -= component
        for band, share in zip(image, vector, strict=True):
            band += gained * share
    return image


def box_reach(ratio: int) -> int:
    """PAN pixels that a box reaches from its centre; the filter has two, one after the other."""
    return ratio


def _mean(values: np.ndarray, size: int) -> np.ndarray:
    """Mean of a square box around each pixel, edges replicated."""
    return uniform_filter(values, size, output=np.float32, mode="nearest")
