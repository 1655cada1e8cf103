"""Where pixels lie: a grid (size, transform, CRS) and windows on it."""

from __future__ import annotations

from collections.abc import Iterator
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


@dataclass(frozen=True)
class Grid:
    """Size in pixels, affine transform (pixel corner to CRS), and CRS or None."""

    height: int
    width: int
    transform: Affine
    crs: CRS | None = None

    def finer(self, ratio: int) -> Grid:
        """The grid of the same extent with pixels `ratio` times smaller."""
        return Grid(
            self.height * ratio, self.width * ratio, self.transform * Affine.scale(1 / ratio), self.crs
        )

    def crop(self, window: Window) -> Grid:
        """The grid of a window."""
        shifted = self.transform * Affine.translation(window.col, window.row)
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

    def __str__(self) -> str:
        return f"{self.height}×{self.width} px at {self.pixel_size[0]:g}"


def tiles(height: int, width: int, size: int, overlap: int = 0) -> Iterator[Window]:
    """Windows of size×size that cover a grid, row by row, each overlapping the next by `overlap`.

    The last of a row or column is moved back to end at the border; a grid smaller than `size` gets
    one window that reaches beyond it.
    """
    for row in _starts(height, size, overlap):
        for col in _starts(width, size, overlap):
            yield Window(row, col, size, size)


def _starts(length: int, size: int, overlap: int) -> list[int]:
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be at least 0 and less than the size {size}")
    last = max(length - size, 0)
    return [*range(0, last, size - overlap), last]
