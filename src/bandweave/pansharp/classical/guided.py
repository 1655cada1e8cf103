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

import numpy as np
from scipy.ndimage import uniform_filter

from bandweave.pansharp.classical.contract import GlobalSharpener
from bandweave.pansharp.classical.statistics import Moments
from bandweave.pansharp.pair.window import PairWindow

SHARE = 0.9  # of the variance
EPSILON = 1e-4  # of PAN's variance: He et al. use 1e-2² to 1e-1² of a range of 1


class GFPCA(GlobalSharpener):
    """A guided filter on the bands' first principal components.

    vectors         (k, C): unit vectors of the first components
    mean, pan_mean  of the bands (C,), and of PAN
    epsilon         ε
    """

    source = "Liao et al. 2015"

    @property
    def margin(self) -> int:
        """The filter has two boxes, one after the other."""
        return super().margin + 2 * box_reach(self.ratio)

    def fit_moments(self, moments: Moments) -> None:
        """Components of the bands' covariance; none where the bands or PAN are constant."""
        pan_variance = moments.covariance[-1, -1]
        variances, vectors = moments.principal()
        count = 0
        if variances.sum() > 0 and pan_variance > 0:
            count = int(np.searchsorted(np.cumsum(variances) / variances.sum(), SHARE)) + 1
        self.vectors = vectors[: min(count, len(vectors))].astype(np.float32)
        self.mean = moments.mean[:-1].astype(np.float32)
        self.pan_mean = np.float32(moments.mean[-1])
        self.epsilon = np.float32(EPSILON * pan_variance)

    def apply(self, window: PairWindow) -> np.ndarray:
        """Filter each component and put back what it gained."""
        image = window.interpolate()
        if not len(self.vectors):
            return image
        size = 2 * box_reach(self.ratio) + 1
        guide = window.pan - self.pan_mean
        guide_mean = _mean(guide, size)
        variance = _mean(guide * guide, size) - guide_mean * guide_mean
        np.maximum(variance, 0, out=variance)
        variance += self.epsilon
        components = np.tensordot(self.vectors, image, axes=1)
        components -= (self.vectors @ self.mean)[:, None, None]
        for component, vector in zip(components, self.vectors, strict=True):
            mean = _mean(component, size)
            slope = (_mean(guide * component, size) - guide_mean * mean) / variance
            gained = _mean(slope, size) * guide
            gained += _mean(mean - slope * guide_mean, size)
            gained -= component
            for band, share in zip(image, vector, strict=True):
                band += gained * share
        return image


def box_reach(ratio: int) -> int:
    """PAN pixels that a box reaches from its centre."""
    return ratio


def _mean(values: np.ndarray, size: int) -> np.ndarray:
    """Mean of a square box around each pixel, edges replicated."""
    return uniform_filter(values, size, output=np.float32, mode="nearest")
