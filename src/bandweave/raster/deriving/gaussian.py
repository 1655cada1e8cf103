"""Means of a source's neighbourhoods, weighted by a Gaussian.

Source: Knutsson and Westin 1993, "Normalized and differential convolution", of order 0.

    v       values, 0 where there is none; c: 1 where there is one, else 0
    g       Gaussian of deviation σ px, cut at 4 σ
    mean    (g * v) / (g * c): holes and what lies outside the grid have no weight
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bandweave.raster.deriving.source import Derived
from bandweave.raster.grid import Window
from bandweave.raster.source import BandInfo, Source

CUT = 4.0  # times σ


class GaussianSource(Derived):
    """Means of each band of a source: of all bands by the first deviation, then by the next.

    sigmas  deviations in px
    """

    def __init__(self, source: Source, sigmas: Sequence[float]) -> None:
        self.sigmas = tuple(sigmas)
        self.halo = reach_of(max(sigmas))
        info = replace(source.info, scales=None, offsets=None, numbers=None, factor=None)
        if len(sigmas) > 1:  # a wavelength stands for one band
            info = BandInfo(units=info.units)
        super().__init__(source, source.bands * len(sigmas), info)

    def compute(self, values: np.ndarray, window: Window) -> np.ndarray:
        known = ~np.isnan(values)
        alike = bool((known == known[:1]).all())  # else each band has holes of its own
        means = np.full((len(self.sigmas), *values.shape), np.nan, np.float32)
        for sigma, mean in zip(self.sigmas, means, strict=True):
            for i in range(1 if alike else len(values)):
                bands = slice(None) if alike else slice(i, i + 1)
                found = mean_of(np.moveaxis(values[bands], 0, -1), known[i], sigma)
                mean[bands, known[i]] = found[known[i]].T
        return means.reshape(-1, *values.shape[1:])


def mean_of(image: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Means (H, W, C) float32 of an image (H, W, C) over its known pixels (H, W); 0 in others."""
    from scipy.ndimage import gaussian_filter

    weights = gaussian_filter(known.astype(np.float32), sigma, mode="constant", truncate=CUT)
    sums = np.stack(
        [
            gaussian_filter(np.where(known, band, 0), sigma, mode="constant", truncate=CUT)
            for band in np.moveaxis(image.astype(np.float32), -1, 0)
        ],
        axis=-1,
    )
    return np.where(known[..., None], sums / np.where(known, weights, 1)[..., None], 0)


def reach_of(sigma: float) -> int:
    """Pixels on each side that a mean takes in."""
    return int(CUT * sigma + 0.5)
