"""Reflectance of ground materials as closed formulas, 400 to 2500 nm.

Shapes follow what spectrometers see: chlorophyll, the red edge, liquid water at 970, 1190, 1450 and
1940 nm, cellulose at 2100 nm, iron oxide at 500 and 870 nm, clay at 2200 nm, carbonate at 2340 nm,
hydrocarbons at 2310 nm. No value is a measurement.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Between the water-vapour bands of the atmosphere, where an airborne sensor sees the ground.
ATMOSPHERIC_WINDOWS = ((400.0, 1340.0), (1460.0, 1790.0), (1960.0, 2450.0))  # nm

MATERIALS = (
    "grass", "crop", "shrub", "tree", "soil", "water", "asphalt", "concrete",
    "tile", "bitumen", "gravel", "metal", "paint",
)  # fmt: skip


def wavelengths(bands: int) -> np.ndarray:
    """`bands` centres (nm, float64), evenly over the atmospheric windows, end to end."""
    lengths = [stop - start for start, stop in ATMOSPHERIC_WINDOWS]
    along = np.linspace(0.0, sum(lengths), bands) if bands > 1 else np.array([250.0])
    ends = np.cumsum([0.0, *lengths])
    which = np.clip(np.searchsorted(ends, along, side="right") - 1, 0, len(lengths) - 1)
    starts = np.array([start for start, _ in ATMOSPHERIC_WINDOWS])
    return np.round(starts[which] + along - ends[which], 2)


def spectra(nm: np.ndarray) -> np.ndarray:
    """Reflectance basis (materials, 3, bands) at wavelengths (nm).

    Row 0 is a material's mean; rows 1 and 2 are its natural variations (drier or brighter, other
    composition), to be added with weights of order one.
    """
    return np.stack([np.stack(_BASES[name](nm)) for name in MATERIALS])


def skylight(nm: np.ndarray) -> np.ndarray:
    """Light in cast shadow relative to full sun, (bands,): little, and blue."""
    return 0.09 + 0.20 * (nm / 450.0) ** -1.6


def snr(nm: np.ndarray) -> np.ndarray:
    """Signal-to-noise ratio of the sensor at reflectance 0.3, (bands,): worse at both ends."""
    return 35.0 + 75.0 * np.exp(-(((nm - 800.0) / 650.0) ** 2))


def _dip(nm: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((nm - centre) / width) ** 2)


def _step(nm: np.ndarray, centre: float, width: float) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-(nm - centre) / width))


def _liquid_water(nm: np.ndarray) -> np.ndarray:
    """Absorbance of a leaf's water, for a thickness of 1."""
    return (
        0.05 * _dip(nm, 970, 28)
        + 0.16 * _dip(nm, 1190, 45)
        + 1.2 * _dip(nm, 1450, 70)
        + 1.9 * _dip(nm, 1940, 90)
        + 1.3 * np.clip((nm - 1150) / 1300, 0, None)
    )


def _leaves(
    nm: np.ndarray, nir: float, green: float, water: float, edge: float = 714.0
) -> np.ndarray:
    visible = 0.028 + green * _dip(nm, 552, 36) - 0.008 * _dip(nm, 672, 18)
    plateau = (nir - 0.03) * _step(nm, edge, 13) * (0.92 + 0.08 * _step(nm, 800, 40))
    return (visible + plateau) * np.exp(-water * _liquid_water(nm))


def _litter(nm: np.ndarray) -> np.ndarray:
    rise = 0.09 + 0.34 * (1 - np.exp(-(nm - 380) / 420))
    return rise - 0.11 * _dip(nm, 1930, 60) - 0.06 * _dip(nm, 2100, 60) - 0.05 * _dip(nm, 2310, 60)


def _grass(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    green = _leaves(nm, 0.44, 0.070, 0.75)
    dry = _litter(nm)
    mean = 0.85 * green + 0.15 * dry
    return mean, 0.15 * (dry - green), _leaves(nm, 0.50, 0.060, 0.9, 718) - green


def _crop(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = _leaves(nm, 0.48, 0.058, 0.95, 720)
    return mean, 0.11 * (_litter(nm) - mean), _leaves(nm, 0.53, 0.052, 1.0, 722) - mean


def _shrub(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.88 * _leaves(nm, 0.40, 0.052, 0.85, 716) + 0.12 * _litter(nm)
    return mean, 0.12 * (_litter(nm) - mean), _leaves(nm, 0.45, 0.045, 0.95, 718) - mean


def _tree(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.95 * _leaves(nm, 0.40, 0.047, 0.95, 717)
    return mean, 0.10 * (_litter(nm) - mean), _leaves(nm, 0.47, 0.055, 0.85, 715) - mean


def _earth(nm: np.ndarray, iron: float) -> np.ndarray:
    rise = 0.05 + 0.30 * (1 - np.exp(-(nm - 400) / 650))
    oxide = 1 - iron * (0.55 * _dip(nm, 470, 70) + 0.22 * _dip(nm, 870, 70))
    clay = 1 - 0.10 * _dip(nm, 1440, 40) - 0.16 * _dip(nm, 1930, 45) - 0.11 * _dip(nm, 2205, 22)
    return rise * oxide * clay


def _soil(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = _earth(nm, 0.75)
    wet = mean * np.exp(-0.35 - 0.25 * _liquid_water(nm))
    return mean, 0.45 * (mean - wet), 0.45 * (_earth(nm, 1.15) - _earth(nm, 0.35))


def _tile(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    fired = (0.05 + 0.33 * (1 - np.exp(-(nm - 400) / 650))) * (1 - 0.75 * _dip(nm, 470, 75))
    mean = 0.55 * fired * (1 - 0.16 * _dip(nm, 870, 75)) + 0.45 * _earth(nm, 1.0)
    return mean, 0.24 * mean, 0.40 * (_earth(nm, 1.2) - _earth(nm, 0.45))


def _water(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.004 + 0.055 * np.exp(-(((nm - 540) / 130) ** 2))
    silt = 0.05 * _dip(nm, 640, 90) + 0.012 * _dip(nm, 810, 25)
    return mean, 0.4 * silt, np.full_like(nm, 0.006)


def _asphalt(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.085 + 0.07 * (1 - np.exp(-(nm - 400) / 900)) - 0.010 * _dip(nm, 2310, 40)
    return mean, 0.18 * mean, 0.02 * (nm - 1200) / 1000


def _bitumen(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.080 + 0.06 * (1 - np.exp(-(nm - 400) / 900)) - 0.013 * _dip(nm, 2310, 40)
    return mean, 0.22 * mean, 0.02 * (nm - 1200) / 1000


def _concrete(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.17 + 0.16 * (1 - np.exp(-(nm - 400) / 350)) - 0.035 * _dip(nm, 2340, 45)
    mean = mean - 0.03 * _dip(nm, 1930, 60)
    return mean, 0.16 * mean, 0.03 * (1200 - nm) / 1000


def _gravel(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.16 + 0.15 * (1 - np.exp(-(nm - 400) / 380)) - 0.030 * _dip(nm, 2340, 45)
    mean = mean - 0.03 * _dip(nm, 1930, 60)
    return mean, 0.18 * mean, 0.03 * (1200 - nm) / 1000


def _metal(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.34 + 0.10 * (nm - 400) / 2000 - 0.05 * _dip(nm, 850, 120)
    return mean, 0.20 * mean, 0.05 * (1200 - nm) / 1000


def _paint(nm: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = 0.12 + 0.18 * _step(nm, 1100, 250)
    return mean, 0.5 * mean, 0.12 * _dip(nm, 450, 60) - 0.12 * _dip(nm, 640, 60)


_BASES: dict[str, Callable[[np.ndarray], tuple[np.ndarray, ...]]] = {
    "grass": _grass, "crop": _crop, "shrub": _shrub, "tree": _tree, "soil": _soil,
    "water": _water, "asphalt": _asphalt, "concrete": _concrete, "tile": _tile,
    "bitumen": _bitumen, "gravel": _gravel, "metal": _metal, "paint": _paint,
}  # fmt: skip
