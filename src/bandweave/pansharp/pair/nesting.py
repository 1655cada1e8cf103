"""How the pixels of an MS image lie to those of its PAN image.

    r          whole number: an MS pixel is r PAN pixels high and wide
    row, col   where the upper left corner of the MS image lies on the PAN image, in PAN pixels

MS pixel i covers PAN coordinates row + r·i to row + r·(i + 1), its centre is at row + r·(i + ½);
PAN pixel j has its centre at j + ½. Nothing is resampled to a third grid: interpolation and
degradation take row and col into account.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from bandweave.raster.grid import Window


@dataclass(frozen=True)
class Nesting:
    """An MS image on its PAN image; row and col are any numbers of PAN pixels.

    Landsat's are half a PAN pixel apart; what registration measures is added.
    """

    ratio: int
    row: float = 0.0
    col: float = 0.0

    def crop(self, pan: tuple[int, int], ms: tuple[int, int]) -> Nesting:
        """The nesting of two crops, whose first pixels are (row, col) `pan` and `ms`."""
        row = _rounded(self.row + self.ratio * ms[0] - pan[0])
        return Nesting(self.ratio, row, _rounded(self.col + self.ratio * ms[1] - pan[1]))

    def move(self, row: float, col: float) -> Nesting:
        """The nesting with the MS image moved down and right by PAN pixels."""
        return Nesting(self.ratio, self.row + row, self.col + col)

    def cover(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the MS pixels, from the first, that a PAN image of this size needs.

        >>> Nesting(4, 0.5, 0).cover(8, 9)
        (2, 3)
        """
        return _needed(height, self.row, self.ratio), _needed(width, self.col, self.ratio)


class CommonArea(NamedTuple):
    """Crops of a PAN and an MS image that show the same ground.

    pan, ms   h·r × w·r and h × w pixels of the two images
    nesting   of the crops: row and col lie between -½ and ½
    note      a sentence where the crops are not all of both images, else ''
    """

    pan: Window
    ms: Window
    nesting: Nesting
    note: str


def common_area(nesting: Nesting, pan: tuple[int, int], ms: tuple[int, int]) -> CommonArea | None:
    """The MS pixels that lie wholly on the PAN image, and the PAN pixels whose centres they hold.

    pan, ms   rows and columns of the two images

    None where there are no such pixels.
    """
    r = nesting.ratio
    starts, counts, firsts = [], [], []
    for corner, fine, coarse in zip((nesting.row, nesting.col), pan, ms, strict=True):
        start = max(math.ceil(-corner / r - 1e-6), 0)
        stop = min(math.floor((fine - corner) / r + 1e-6), coarse)
        if stop <= start:
            return None
        starts.append(start)
        counts.append(stop - start)
        firsts.append(math.ceil(_rounded(corner + r * start) - 0.5))
    (row, col), (top, left), (h, w), note = firsts, starts, counts, ""
    if (h * r, w * r) != pan or (h, w) != ms:
        note = (
            f"the two images differ in extent: {h * r}×{w * r} of PAN's {pan[0]}×{pan[1]} pixels "
            f"and {h}×{w} of MS's {ms[0]}×{ms[1]} are of the area that both cover (from PAN row "
            f"{row}, column {col}; {r}×{r} PAN pixels an MS pixel)"
        )
    crop = nesting.crop((row, col), (top, left))
    return CommonArea(Window(row, col, h * r, w * r), Window(top, left, h, w), crop, note)


def _needed(length: int, corner: float, ratio: int) -> int:
    return max(math.ceil((length - 0.5 - corner) / ratio - 1e-6), 1)


def _rounded(corner: float) -> float:
    """A corner without the noise of the transforms: 1e-6 PAN pixels."""
    return round(corner, 6) + 0.0
