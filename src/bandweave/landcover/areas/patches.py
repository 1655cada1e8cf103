"""Small patches of a map, merged into their neighbours by GDAL's sieve filter.

A patch is a set of pixels of one class that are connected along sides. One of fewer pixels than the
minimum takes the class of its largest neighbour, or where that is small too, of the largest
neighbour of that one, and so on. Where this leads to no patch that is large enough, a patch stays
as it is. Pixels without data are never changed, and are no neighbours.

Which neighbour is the largest is a fact of the whole map, not of the rows around a patch. So the
filter goes over the whole map, whose pixels lie on the disk (memory-mapped): what it holds in
memory is a few numbers for each patch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rasterio.features import sieve

from bandweave.errors import ConfigError

ROWS = 512  # of a map, whose pixels without data are marked at once


def check_minimum(minimum: int | None) -> None:
    """Raise ConfigError for a number of pixels that no patch can be smaller than."""
    if minimum is not None and not 1 <= minimum < 2**31:
        raise ConfigError(
            f"the minimum is {minimum} px; give the pixels that a patch has at least, from 1 on"
        )


def merge_small_patches(codes: np.ndarray, nodata: int, minimum: int, scratch: Path) -> None:
    """Merge patches of fewer than `minimum` pixels into their largest neighbours, in place.

    codes    (H, W) uint8 or uint16, in memory or mapped from a file
    nodata   the code of no data
    scratch  a file that is made, and removed, for a byte a pixel
    """
    try:
        with scratch.open("wb") as file:  # a full disk is told here; mapped memory would not tell
            for row in range(0, len(codes), ROWS):
                file.write((codes[row : row + ROWS] != nodata).astype(np.uint8).tobytes())
        known = np.memmap(scratch, np.uint8, "r", shape=codes.shape)
        sieve(codes, minimum, out=codes, mask=known)
    finally:
        scratch.unlink(missing_ok=True)
