"""The place of pixels: a grid (size, transform, CRS) and windows on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rasterio.crs import CRS
from rasterio.transform import Affine


class Window(NamedTuple):
    """A rectangle of pixels. It may reach outside the grid; readers fill what lies outside."""

    row: int
    col: int
    height: int
    width: int

    def finer(self, ratio: int) -> Window:
        """The same ground on a grid `ratio` times finer."""
        return Window(*(value * ratio for value in self))

    def coarser(self, ratio: int) -> Window:
        """The pixels that it touches of a grid `ratio` times coarser."""
        top, left = self.row // ratio, self.col // ratio
        bottom, right = -(-(self.row + self.height) // ratio), -(-(self.col + self.width) // ratio)
        return Window(top, left, bottom - top, right - left)

    def margins(self, outer: Window) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels of a larger window before and after it, along rows and columns, as for np.pad."""
        above, left = self.row - outer.row, self.col - outer.col
        below, right = outer.height - self.height - above, outer.width - self.width - left
        return (above, below), (left, right)

    def grow(self, margin: int) -> Window:
        """The window with a margin on each of the four sides."""
        both = 2 * margin
        return Window(self.row - margin, self.col - margin, self.height + both, self.width + both)

    def clip(self, height: int, width: int) -> Window | None:
        """Cut it to a grid of this size; None if nothing of it lies there."""
        top, left = max(self.row, 0), max(self.col, 0)
        bottom, right = min(self.row + self.height, height), min(self.col + self.width, width)
        if bottom <= top or right <= left:
            return None
        return Window(top, left, bottom - top, right - left)

    def slices(self, origin: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
        """Row and column slices of an array whose first pixel is at `origin`."""
        row, col = self.row - origin[0], self.col - origin[1]
        return slice(row, row + self.height), slice(col, col + self.width)

    def divide(self, rows: int, columns: int | None = None) -> Iterator[Window]:
        """Divide it into pieces without overlap, row by row; those at its end are smaller.

        columns  of a piece; as many as `rows` if None

        >>> [tuple(piece) for piece in Window(0, 0, 3, 5).divide(3)]
        [(0, 0, 3, 3), (0, 3, 3, 2)]
        """
        columns = columns or rows
        for row in range(0, self.height, rows):
            for col in range(0, self.width, columns):
                height, width = min(rows, self.height - row), min(columns, self.width - col)
                yield Window(self.row + row, self.col + col, height, width)


METRES = 111_320.0  # of a degree of latitude, and of longitude at the equator
PIXELS = Affine(1, 0, 0, 0, -1, 0)  # the transform of what has none: north-up, one unit a pixel


@dataclass(frozen=True)
class Grid:
    """Size in pixels, affine transform (pixel corner to CRS), and CRS or None."""

    height: int
    width: int
    transform: Affine
    crs: CRS | None = None

    def finer(self, ratio: int) -> Grid:
        """The grid of the same extent with pixels `ratio` times smaller."""
        t = self.transform
        finer = Affine(t.a / ratio, t.b / ratio, t.c, t.d / ratio, t.e / ratio, t.f)
        return Grid(self.height * ratio, self.width * ratio, finer, self.crs)

    def crop(self, window: Window) -> Grid:
        """The grid of a window."""
        t = self.transform
        x, y = self.xy(window.row, window.col)
        shifted = Affine(t.a, t.b, x, t.d, t.e, y)
        return Grid(window.height, window.width, shifted, self.crs)

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a pixel in units of the CRS."""
        t = self.transform
        return (t.a**2 + t.d**2) ** 0.5, (t.b**2 + t.e**2) ** 0.5

    @property
    def window(self) -> Window:
        """The whole grid."""
        return Window(0, 0, self.height, self.width)

    @property
    def georeferenced(self) -> bool:
        """It has a transform of its own, rather than the stand-in of a file without one."""
        return self.transform not in (PIXELS, Affine.identity())

    @property
    def unit(self) -> str:
        """Unit of the transform: 'm', '°', another name the CRS gives, or '' without a CRS."""
        if self.crs is None or not self.georeferenced:
            return ""
        if self.crs.is_geographic:
            return "°"
        name = str(self.crs.linear_units)
        return "m" if name.lower() in ("metre", "meter", "m") else name

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the four corners, in the CRS."""
        x, y = zip(*self.corners, strict=True)
        return min(x), min(y), max(x), max(y)

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """Upper left, upper right, lower right, lower left, in the CRS."""
        pixels = ((0, 0), (self.width, 0), (self.width, self.height), (0, self.height))
        return tuple(self.xy(row, col) for col, row in pixels)

    def xy(self, row: float, col: float) -> tuple[float, float]:
        """The place of the upper left corner of a pixel in the CRS."""
        t = self.transform
        return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f

    def __str__(self) -> str:
        size = f"{self.height}×{self.width} px"
        if not self.georeferenced:
            return size
        width, height = self.pixel_size
        pixel = f"{width:g}" if abs(width - height) < 1e-6 * width else f"{width:g}×{height:g}"
        return f"{size} at {pixel} {self.unit}{self._say_metres()}".rstrip()

    def _say_metres(self) -> str:
        """' (about 10 m × 9.2 m at 23.4°)': a pixel in degrees, at the middle's latitude."""
        if self.unit != "°":
            return ""
        latitude = self.xy(self.height / 2, self.width / 2)[1]
        width, height = self.pixel_size
        across = width * METRES * math.cos(math.radians(latitude))
        return f" (about {across:.3g} m × {height * METRES:.3g} m at latitude {latitude:.3g}°)"


def spread_windows(
    shape: tuple[int, int], sizes: Sequence[int], numbers: Sequence[int]
) -> list[Window]:
    """Windows of one size, spread evenly over a grid from border to border, row by row.

    shape    rows and columns of the grid
    sizes    rows and columns of a window
    numbers  of windows along the rows and along the columns

    >>> [tuple(w) for w in spread_windows((9, 4), (3, 4), (3, 1))]
    [(0, 0, 3, 4), (3, 0, 3, 4), (6, 0, 3, 4)]
    """
    rows, cols = (
        [round(at * (length - size) / max(number - 1, 1)) for at in range(number)]
        for length, size, number in zip(shape, sizes, numbers, strict=True)
    )
    return [Window(row, col, *sizes) for row in rows for col in cols]


def tiles(height: int, width: int, size: int, overlap: int = 0) -> Iterator[Window]:
    """Windows of size×size that cover a grid, row by row, each overlapping the next by `overlap`.

    The last of a row or column is moved back to end at the border; a grid smaller than `size` gets
    one window that reaches beyond it.
    """
    for row in _list_starts(height, size, overlap):
        for col in _list_starts(width, size, overlap):
            yield Window(row, col, size, size)


def _list_starts(length: int, size: int, overlap: int) -> list[int]:
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be at least 0 and less than the size {size}")
    last = max(length - size, 0)
    return [*range(0, last, size - overlap), last]
