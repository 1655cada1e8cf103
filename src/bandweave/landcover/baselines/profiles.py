"""Extended morphological profiles: what is left of an image's bright and dark pieces, size by size.

Sources: Benediktsson, Palmason and Sveinsson 2005, "Classification of hyperspectral data from urban
areas based on extended morphological profiles"; Vincent 1993 for reconstruction.

    f      a component: a band of a layer of few bands (a height), or one of the first principal
           components of a layer of more
    γ_r f  opening by reconstruction: f eroded by a disk of r px, dilated again under f as far as
           that reaches. Bright pieces that no disk fits into are gone, all others whole
    φ_r f  closing by reconstruction, −γ_r(−f): the same of dark pieces
    the profile of f: φ_R … φ_1, f, γ_1 … γ_R (2·R + 1 values a pixel)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RADII = (2, 4, 6, 8)  # px of the labels' grid
SIDES = 8  # the largest radius is at most the shortest side of the smallest part, divided by this
COMPONENTS = 4  # principal components of a layer that has more bands


def radii_for(side: int) -> tuple[int, ...]:
    """Radii for parts whose shortest side has `side` px: RADII, smaller where those are too wide.

    A disk that is nearly as wide as a part erases all that the part holds. From 64 px on it is
    RADII; each radius is at least 1 px, and none stands twice.

    >>> radii_for(64), radii_for(32), radii_for(20)
    ((2, 4, 6, 8), (1, 2, 3, 4), (1, 2))
    """
    largest = min(RADII[-1], max(side // SIDES, 1))
    scaled = {max(radius * largest // RADII[-1], 1) for radius in RADII}
    return tuple(sorted(scaled))


def profile(image: np.ndarray, known: np.ndarray, radii: Sequence[int] = RADII) -> np.ndarray:
    """The profile (H, W, 2·R + 1) float32 of an image (H, W); 0 where it is not known.

    known  (H, W) bool: pixels that take part. Others are as if the image ended there: they neither
           erode, nor does a piece reach through them
    """
    if not known.any():
        return np.zeros((*image.shape, 2 * len(radii) + 1), np.float32)
    image = image.astype(np.float32)
    opened = [opening(image, known, radius) for radius in radii]
    closed = [-opening(-image, known, radius) for radius in radii]
    return np.stack([np.where(known, f, 0) for f in (*closed[::-1], image, *opened)], axis=-1)


def opening(image: np.ndarray, known: np.ndarray, radius: int) -> np.ndarray:
    """Opening by reconstruction (H, W), among the known pixels."""
    from scipy.ndimage import grey_erosion
    from skimage.morphology import disk, reconstruction

    low, high = image[known].min(), image[known].max()
    eroded = grey_erosion(
        np.where(known, image, high), footprint=disk(radius), mode="constant", cval=float(high)
    )
    seed, mask = (np.where(known, f, low) for f in (eroded, image))
    return reconstruction(seed, mask, footprint=np.ones((3, 3))).astype(np.float32)
