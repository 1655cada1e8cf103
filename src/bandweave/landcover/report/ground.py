"""Where a picture lies and how large it is on the ground: a scale bar and corner coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rasterio.errors import RasterioError

from bandweave.raster.grid import Grid

EARTH = 6_371_008.8  # m: mean radius
LONGEST_BAR = 0.4  # of the picture's width


@dataclass(frozen=True)
class Ground:
    """What stands under the pictures of one place.

    bar      the bar's share of the picture's width; 0 where no length on the ground is known
    length   in words, such as '500 m'
    corners  where the picture's corners lie, in words; '' where the grid has no place
    """

    bar: float = 0.0
    length: str = ""
    corners: str = ""


def describe_ground(grid: Grid) -> Ground:
    """Find the scale bar and the corners of a grid's picture; empty where it has no place.

    >>> from rasterio.transform import from_origin
    >>> from rasterio.crs import CRS
    >>> describe_ground(Grid(50, 100, from_origin(5e5, 4e6, 2, 2), CRS.from_epsg(32617))).length
    '50 m'
    """
    if not grid.georeferenced:
        return Ground()
    metres = _measure_width(grid)
    if metres is None:
        return Ground(corners=_describe_corners(grid))
    longest = LONGEST_BAR * metres
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest)
    words = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    return Ground(length / metres, words, _describe_corners(grid))


def _measure_width(grid: Grid) -> float | None:
    """Measure the middle row in metres on the ground, by its middle pixel; None without a CRS."""
    if grid.crs is None:
        return None
    row, col = grid.height / 2, grid.width / 2
    ends = [grid.xy(row, col - 0.5), grid.xy(row, col + 0.5)]
    try:
        across = grid.width * _measure_distance(*_to_degrees(grid, ends))
    except (RasterioError, ValueError):  # a CRS of no place on the Earth
        if not grid.crs.is_projected:
            return None
        across = grid.width * grid.pixel_size[0] * grid.crs.linear_units_factor[1]
    return across if math.isfinite(across) and across > 0 else None


def _to_degrees(grid: Grid, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Give longitude and latitude of points of the CRS."""
    from rasterio.warp import transform

    assert grid.crs is not None
    if grid.crs.is_geographic:
        return points
    x, y = zip(*points, strict=True)
    longitudes, latitudes = transform(grid.crs, "EPSG:4326", x, y)
    return list(zip(longitudes, latitudes, strict=True))


def _measure_distance(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Measure the metres between two places in degrees, on a sphere."""
    (a, b), (c, d) = ([math.radians(value) for value in point] for point in (first, second))
    half = math.sin((d - b) / 2) ** 2 + math.cos(b) * math.cos(d) * math.sin((c - a) / 2) ** 2
    return 2 * EARTH * math.asin(math.sqrt(half))


def _describe_corners(grid: Grid) -> str:
    """Say all four corners where rows are turned against the CRS, two where they are not."""
    names = ("upper left", "upper right", "lower right", "lower left")
    turned = grid.transform.b != 0 or grid.transform.d != 0
    shown = range(4) if turned else (0, 2)
    sign, digits = ("°", 5) if grid.unit == "°" else ("", 1)
    words = [
        f"{names[i]} {', '.join(f'{value:,.{digits}f}{sign}' for value in grid.corners[i])}"
        for i in shown
    ]
    unit = f", {grid.unit}" if grid.unit not in ("", "°") else ""
    place = f"{grid.crs}{unit}" if grid.crs is not None else "no CRS"
    if len(place) > 60:
        place = "the CRS of the grid" + unit
    return f"Corners (x, y; {place}): {'; '.join(words)}".replace("-", "−")
