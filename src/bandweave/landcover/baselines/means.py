"""Gaussian means of an image around each pixel, over what is known there.

f      a component, as profiles take it
w      1 where f is known, 0 elsewhere
the mean of f is G_σ(w·f) / G_σ(w): G_σ is cut off at four σ
"""

from __future__ import annotations

import numpy as np

CUT = 4.0  # times sigma


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
