"""What of a scene lies in the polygons of a vector file: the pixels that a map is wanted of.

A pixel is inside where its centre is. The map is cropped to the rectangle of pixels that holds the
polygons, on the pixels of the scene's map, so that it lies on a map of the whole scene.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from rasterio import features

from bandweave.data.scene import Part, Scene
from bandweave.errors import GridMismatch
from bandweave.landcover.predict.net import Strip
from bandweave.local_files import split_key
from bandweave.raster.alignment import short_crs
from bandweave.raster.grid import Grid, Window
from bandweave.raster.polygons import Polygons, bring_to_grid, pick_areas, windows_around
from bandweave.raster.reader import VectorReader
from bandweave.raster.readers import recognise

log = logging.getLogger(__name__)

ROWS = 512  # of a mask, that are burned at once


@dataclass(frozen=True, eq=False)
class Extent:
    """Where in a part a map is wanted, on the map's pixels.

    window  the rectangle that the map is cropped to
    inside  (H, W) bool of the whole part; memory is taken for the rectangle's rows alone
    """

    window: Window
    inside: np.ndarray

    def cut(self, strip: Strip) -> Strip | None:
        """What of a strip is in the rectangle, counted from its corner; None for nothing."""
        top, left, height, width = self.window
        place = strip.window._replace(row=strip.window.row - top, col=strip.window.col - left)
        kept = place.clip(height, width)
        if kept is None:
            return None
        own = kept.slices((place.row, place.col))
        inside = self.inside[kept._replace(row=kept.row + top, col=kept.col + left).slices()]
        return Strip(kept, strip.logits[:, *own], strip.valid[own] & inside)


def find_extents(scene: Scene, within: str | os.PathLike[str], ratio: int) -> list[Extent | None]:
    """Find where a map is wanted in each part of a scene; None for a part without such a pixel.

    within  a vector file of polygons; FILE:LAYER where it has several layers
    ratio   how many times finer than the grid the map is

    Raises FileError for a file without polygons, GridMismatch for polygons that do not touch the
    scene or hold no pixel's centre, and for a scene without a place or CRS.
    """
    path, layer = split_key(within)
    polygons = pick_areas(recognise(path, VectorReader).read(Path(path), layer), path)
    for note in polygons.notes:
        log.info("%s", note)
    (crs,) = polygons.crs
    for part in scene.parts:
        check_place(part.grid, f"{path}", polygons, "the scene")
    if crs is None:
        log.warning("%s states no CRS; it is read in the scene's, %s", path,
                    short_crs(scene.parts[0].grid.crs))  # fmt: skip
    found = [_find_extent(polygons, part.grid.finer(ratio)) for part in scene.parts]
    if all(extent is None for extent in found):
        others = len(scene.parts) - 1
        raise GridMismatch(
            explain_apart(path, polygons, scene.parts[0].grid, "the scene")
            + (f" in its first part, and {others} more lie elsewhere too" if others else "")
        )
    pixels = sum(int(one.inside[one.window.slices()].sum()) for one in found if one is not None)
    if not pixels:
        raise GridMismatch(
            f"the polygons of {path} hold no pixel's centre: a pixel is "
            f"{_say_pixel(scene.parts[0].grid.finer(ratio))}; draw them larger"
        )
    log.info("within %s: %s", path, _describe(found, scene.parts, ratio, pixels, polygons))
    return found


def _find_extent(polygons: Polygons, grid: Grid) -> Extent | None:
    shapes = bring_to_grid(polygons, grid)
    around = windows_around(shapes, grid)
    windows = [window for window in around if window is not None]
    if not windows:
        return None
    shapes = shapes[[window is not None for window in around]]
    row, col = min(window.row for window in windows), min(window.col for window in windows)
    below = max(window.row + window.height for window in windows)
    beyond = max(window.col + window.width for window in windows)
    window = Window(row, col, below - row, beyond - col)
    inside = np.zeros((grid.height, grid.width), bool)
    for piece in window.divide(ROWS, window.width):
        inside[piece.slices()] = features.rasterize(
            shapes,
            out_shape=(piece.height, piece.width),
            transform=grid.crop(piece).transform,
            default_value=1,
            dtype="uint8",
        )
    return Extent(window, inside)


def check_place(grid: Grid, path: str, polygons: Polygons, noun: str) -> None:
    """Raise GridMismatch for a grid that polygons cannot be laid on; `noun` says whose it is."""
    (crs,) = polygons.crs
    if not grid.georeferenced:
        raise GridMismatch(
            f"{noun} ({grid}) has no transform, so nobody knows where in it the polygons of "
            f"{path} lie; georeference its files"
        )
    if grid.crs is None and crs is not None:
        raise GridMismatch(
            f"{noun} ({grid}) has no CRS and the polygons of {path} are in {short_crs(crs)}; "
            f"give it one (a scene's is stated by `crs:` in its file)"
        )


def explain_apart(path: str | os.PathLike[str], polygons: Polygons, grid: Grid, noun: str) -> str:
    """Say that polygons lie outside a grid: both extents, in their CRS and in the grid's."""
    (crs,) = polygons.crs
    covers = f"{_say_box(*grid.bounds)} ({short_crs(grid.crs)})"
    own = _say_box(*shapely.total_bounds(polygons.shapes))
    lie = f"{own} ({short_crs(crs or grid.crs)})"
    if crs is not None and crs != grid.crs:
        moved = shapely.bounds(bring_to_grid(polygons, grid))
        moved = moved[np.isfinite(moved).all(axis=1)]
        if len(moved):
            box = _say_box(*moved[:, :2].min(axis=0), *moved[:, 2:].max(axis=0))
            lie += f", which is {box} in its CRS"
    return f"the polygons of {path} do not touch {noun}: they lie in {lie}; it covers {covers}"


def _say_box(left: float, bottom: float, right: float, top: float) -> str:
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


def _say_pixel(grid: Grid) -> str:
    width, height = grid.pixel_size
    return f"{width:g}×{height:g} {grid.unit}".rstrip()


def _describe(
    found: list[Extent | None],
    parts: tuple[Part, ...],
    ratio: int,
    pixels: int,
    polygons: Polygons,
) -> str:
    text = f"{len(polygons.shapes)} polygons hold {pixels:,} px"
    if left_out := polygons.counts["unusable"]:
        text += f" ({left_out} features are no polygons)"
    if len(parts) > 1:
        touched = sum(one is not None for one in found)
        return f"{text} in {touched} of {len(parts)} parts; the maps of these are cropped to them"
    (extent,) = found
    assert extent is not None
    row, col, height, width = extent.window
    whole = parts[0].grid.finer(ratio)
    return (
        f"{text}; the map is cropped to {height}×{width} px, rows {row} to {row + height - 1} and "
        f"columns {col} to {col + width - 1} of the scene's {whole.height}×{whole.width}"
    )
