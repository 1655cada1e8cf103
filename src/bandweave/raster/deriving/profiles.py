"""Extended morphological profiles: what is left of an image's bright and dark pieces, size by size.

Sources: Benediktsson, Palmason and Sveinsson 2005, "Classification of hyperspectral data from urban
areas based on extended morphological profiles"; Vincent 1993 for reconstruction.

    f      a band (of heights, say), or a principal component of many bands
    γ_r f  opening by reconstruction: f eroded by a disk of r px, dilated again under f as far as
           that reaches. Bright pieces that no disk fits into are gone, all others whole
    φ_r f  closing by reconstruction, −γ_r(−f): the same of dark pieces
    the profile of f: φ_R … φ_1, f, γ_1 … γ_R (2·R + 1 values a pixel)

By definition one pixel can change another at any distance, through a piece that joins them. `steps`
ends the way back: a piece is rebuilt no farther than so many pixels from where the disk fits. Then
windows can be read from a source, and agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bandweave.raster.deriving.source import Derived
from bandweave.raster.grid import Window
from bandweave.raster.source import BandInfo, Source

STEPS = 32  # px that a piece is rebuilt from where the disk fits, where pixels are read by window


class ProfileSource(Derived):
    """The profile of each band of a source, band after band; pieces are rebuilt 32 px far."""

    def __init__(self, source: Source, radii: Sequence[int]) -> None:
        self.radii = tuple(sorted(radii))
        self.halo = self.radii[-1] + STEPS
        bands = source.bands * (2 * len(self.radii) + 1)
        super().__init__(source, bands, BandInfo(units=source.info.units))

    def compute(self, values: np.ndarray, window: Window) -> np.ndarray:
        profiles = []
        for band in values:
            known = ~np.isnan(band)
            found = np.where(known[..., None], profile(band, known, self.radii, STEPS), np.nan)
            profiles += [*np.moveaxis(found, -1, 0)]
        return np.stack(profiles)


def profile(
    image: np.ndarray, known: np.ndarray, radii: Sequence[int], steps: int | None = None
) -> np.ndarray:
    """The profile (H, W, 2·R + 1) float32 of an image (H, W); 0 where it is not known.

    known  (H, W) bool: pixels that take part. Others are as if the image ended there: they neither
           erode, nor does a piece reach through them
    steps  px that a piece is rebuilt from where the disk fits; None: to its end
    """
    if not known.any():
        return np.zeros((*image.shape, 2 * len(radii) + 1), np.float32)
    image = image.astype(np.float32)
    opened = [opening(image, known, radius, steps) for radius in radii]
    closed = [-opening(-image, known, radius, steps) for radius in radii]
    return np.stack([np.where(known, f, 0) for f in (*closed[::-1], image, *opened)], axis=-1)


def opening(
    image: np.ndarray, known: np.ndarray, radius: int, steps: int | None = None
) -> np.ndarray:
    """Opening by reconstruction (H, W), among the known pixels."""
    from scipy.ndimage import grey_erosion
    from skimage.morphology import disk, reconstruction

    low, high = image[known].min(), image[known].max()
    eroded = grey_erosion(
        np.where(known, image, high), footprint=disk(radius), mode="constant", cval=float(high)
    )
    seed, mask = (np.where(known, f, low) for f in (eroded, image))
    if steps is not None:
        return _rebuild(seed, mask, steps)
    return reconstruction(seed, mask, footprint=np.ones((3, 3))).astype(np.float32)


def _rebuild(seed: np.ndarray, mask: np.ndarray, steps: int) -> np.ndarray:
    """Dilate `seed` (H, W) by a square of 3 px under `mask`, `steps` times."""
    for _ in range(steps):
        rows, grown = seed.copy(), np.empty_like(seed)
        np.maximum(rows[1:], seed[:-1], out=rows[1:])
        np.maximum(rows[:-1], seed[1:], out=rows[:-1])
        grown[:] = rows
        np.maximum(grown[:, 1:], rows[:, :-1], out=grown[:, 1:])
        np.maximum(grown[:, :-1], rows[:, 1:], out=grown[:, :-1])
        np.minimum(grown, mask, out=grown)
        if (grown == seed).all():
            break
        seed = grown
    return seed
