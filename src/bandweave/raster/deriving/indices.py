"""Normalised differences of two bands, (a − b) / (a + b), by name and wavelength.

Sources: Rouse et al. 1974 (ndvi), Gitelson et al. 1996 (gndvi), Gitelson and Merzlyak 1994 (ndre),
McFeeters 1996 (ndwi), Xu 2006 (mndwi), Gao 1996 (ndmi), Key and Benson 2006 (nbr), Zha et al. 2003
(ndbi).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bandweave.errors import ConfigError
from bandweave.raster.deriving.source import BandSubset, Derived
from bandweave.raster.grid import Window
from bandweave.raster.source import BandInfo, Source


@dataclass(frozen=True)
class Colour:
    """A range of wavelengths in nm, and the one in it that is wanted most."""

    low: float
    best: float
    high: float


GREEN = Colour(530, 560, 595)
RED = Colour(620, 665, 690)
RED_EDGE = Colour(695, 715, 735)
NEAR_INFRARED = Colour(760, 842, 900)
SHORT_WAVE = Colour(1550, 1610, 1750)
LONGER_SHORT_WAVE = Colour(2080, 2190, 2350)

INDICES: dict[str, tuple[Colour, Colour]] = {
    "ndvi": (NEAR_INFRARED, RED),
    "gndvi": (NEAR_INFRARED, GREEN),
    "ndre": (NEAR_INFRARED, RED_EDGE),
    "ndwi": (GREEN, NEAR_INFRARED),
    "mndwi": (GREEN, SHORT_WAVE),
    "ndmi": (NEAR_INFRARED, SHORT_WAVE),
    "nbr": (NEAR_INFRARED, LONGER_SHORT_WAVE),
    "ndbi": (SHORT_WAVE, NEAR_INFRARED),
}
ANY = "nd"  # of any two bands, which are named


class IndexSource(Derived):
    """The normalised difference of two bands of a source (indices from 0), −1 to 1.

    A hole where either band has one, or their sum is not above 0; what noise takes out of the range
    is at its end.
    """

    def __init__(self, source: Source, first: int, second: int) -> None:
        super().__init__(BandSubset(source, [first, second]), 1, BandInfo())

    def compute(self, values: np.ndarray, window: Window) -> np.ndarray:
        first, second = values
        total = first + second
        index = np.full((1, *total.shape), np.nan, np.float32)
        np.divide(first - second, total, out=index[0], where=total > 0)
        return index.clip(-1, 1)


def find_index_bands(index: str, info: BandInfo) -> tuple[int, int]:
    """Find the two bands (indices from 0) of a named index, by wavelength.

    Wavelengths are the file's, or those of a known sensor by the names of its bands. Raises
    ConfigError where there are none, or none in the range of a band.

    >>> find_index_bands("ndvi", BandInfo(wavelengths=(480.0, 560.0, 660.0, 840.0)))
    (3, 2)
    """
    known = info.wavelengths or info.nominal
    if not known:
        raise ConfigError("has no wavelengths; state its `wavelengths`")
    found = []
    for colour in INDICES[index]:
        near = [band for band, value in enumerate(known) if colour.low <= value <= colour.high]
        if not near:
            has = [value for value in known if not math.isnan(value)]
            raise ConfigError(
                f"has wavelengths from {min(has):g} to {max(has):g} nm and none within "
                f"{colour.low:g} to {colour.high:g} nm"
                if has
                else "has no wavelengths; state its `wavelengths`"
            )
        found.append(min(near, key=lambda band: abs(known[band] - colour.best)))
    return found[0], found[1]
