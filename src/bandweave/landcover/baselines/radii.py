"""Which sizes of disks morphological profiles are made with (raster/deriving/profiles.py)."""

from __future__ import annotations

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
