"""The relation of two grids, and the message for a user where they do not fit."""

from __future__ import annotations

from dataclasses import dataclass

from rasterio.crs import CRS

from bandweave.errors import GridMismatch
from bandweave.raster.grid import Grid

TOLERANCE = 1e-3  # pixels of the finer grid that a corner may be off


@dataclass(frozen=True)
class Same:
    """Same size and place."""


@dataclass(frozen=True)
class Finer:
    """Same extent, with pixels `ratio` times smaller."""

    ratio: int


@dataclass(frozen=True)
class Different:
    """Neither; `reason` says why in a few words."""

    reason: str


def relation(grid: Grid, reference: Grid) -> Same | Finer | Different:
    """Find the relation of `grid` to `reference`.

    Corners may be off by 1e-3 pixels of the finer grid. Where one of the two has no transform,
    shapes alone decide; where one has no CRS, it is taken to be the other's.
    """
    ratio = _ratio(grid, reference)
    if grid.georeferenced and reference.georeferenced:
        if grid.crs and reference.crs and not same_crs(grid.crs, reference.crs):
            return Different("another CRS")
        if ratio is None:
            return Different(_sizes(grid, reference))
        off = _offset(grid, reference)
        if off > TOLERANCE:
            return Different(f"a corner is {off:.3g} of its pixels off")
    elif ratio is None:
        return Different(_sizes(grid, reference))
    return Same() if ratio == 1 else Finer(ratio)


def same_crs(one: CRS, other: CRS) -> bool:
    """The same coordinates, whatever the words: equal by PROJ, or by EPSG code."""
    if one == other:
        return True
    code = one.to_epsg()
    return code is not None and code == other.to_epsg()


def short_crs(crs: CRS | None) -> str:
    """'EPSG:32617' where the CRS has a code, else its name; 'no CRS' for None."""
    if crs is None:
        return "no CRS"
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt().split('"')[1]


def fit(
    name: str,
    grid: Grid,
    reference_name: str,
    reference: Grid,
    ratio: int | None = None,
) -> int:
    """The ratio at which the layer `name` enters a scene without being warped: 1 where it is Same.

    ratio   what the scene file states; a finer layer needs it stated

    Raises GridMismatch where the grids do not fit, or fit at another ratio than stated.
    """
    found = relation(grid, reference)
    fits = 1 if isinstance(found, Same) else found.ratio if isinstance(found, Finer) else None
    if fits is not None and fits == (ratio or 1):
        return fits
    sizes = f"layer {name!r} is {grid}, the reference grid {reference_name!r} is {reference}"
    if isinstance(found, Finer):
        advice = f"add `ratio: {found.ratio}` to keep it finer, or `warp: average` to warp it"
        if ratio:
            sizes += f": {found.ratio} times finer, not {ratio}"
    elif isinstance(found, Same):
        sizes += f": the same, not {ratio} times finer"
        advice = f"leave out `ratio: {ratio}`"
    else:
        sizes += f" ({found.reason})"
        advice = "add `warp: bilinear` to the layer to warp it, or choose it as `grid:`"
        if not (grid.georeferenced and reference.georeferenced):
            advice = "one has no transform, so it cannot be warped: bring them to one size first"
    raise GridMismatch(f"{sizes}; {advice}")


def _ratio(grid: Grid, reference: Grid) -> int | None:
    ratio = grid.height // reference.height
    if ratio >= 1 and (grid.height, grid.width) == (
        reference.height * ratio,
        reference.width * ratio,
    ):
        return ratio
    return None


def _offset(grid: Grid, reference: Grid) -> float:
    """The largest distance between corresponding corners, in pixels of the finer `grid`."""
    back = ~grid.transform
    apart = ((x - u, y - v) for (x, y), (u, v) in zip(grid.corners, reference.corners, strict=True))
    return max(max(abs(back.a * x + back.b * y), abs(back.d * x + back.e * y)) for x, y in apart)


def _sizes(grid: Grid, reference: Grid) -> str:
    if grid.height < reference.height and reference.height % grid.height == 0:
        return "coarser"
    return "another size"
