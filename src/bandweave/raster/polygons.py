"""Polygons and points with a class, read from vector files and burned onto a grid."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
import shapely.affinity
import shapely.errors
from rasterio import features
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import MergeAlg
from rasterio.warp import transform as warp_points

from bandweave.errors import ConfigError, GridMismatch, LabelError
from bandweave.raster.grid import Grid
from bandweave.raster.vectors import read_table, read_vector, usable_parts

Overlap = Literal["smallest", "largest", "first", "last", "ignore"]
OVERLAPS = ("smallest", "largest", "first", "last", "ignore")
Code = str | int


@dataclass(frozen=True)
class Polygons:
    """Polygons and points of one or several files, in the order of the files.

    shapes   polygons, points and several of either, in the CRS of their file
    codes    the class of each: the field's value, whole numbers as int
    files    (n,) int: the number of its file, from 0
    crs      of each file; None where it has none
    counts   what was read and what was left out, for the log: `read`, `unusable` (lines,
             empty geometries), `without_row` (no match in the CSV), `without_code` (empty value),
             `repeated_rows` (rows of the CSV whose key stood there before; the first counts)
    """

    shapes: np.ndarray
    codes: tuple[Code, ...]
    files: np.ndarray
    crs: tuple[CRS | None, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class Burned:
    """Polygons on a grid.

    objects  (H, W) int32: number of the polygon from 1, 0 where there is none
    codes    the class of each polygon that has pixels: that of object i is codes[i - 1]
    numbers  which polygon of the `Polygons` each is, from 0
    near     which polygons meet the grid's extent, with pixels or without
    counts   for the log: `polygons` with pixels, `outside` the grid, `without_pixels` (too small to
             hold a pixel's centre, or wholly under others), `overlapped_pixels` (in more than one)
    """

    objects: np.ndarray
    codes: tuple[Code, ...]
    numbers: tuple[int, ...]
    near: tuple[int, ...]
    counts: dict[str, int]

    def values(self, index: Mapping[Code, int], fill: int = -1) -> np.ndarray:
        """(H, W) int16: the index of each pixel's class; `fill` where `index` has none."""
        table = np.array([fill, *(index.get(code, fill) for code in self.codes)], np.int16)
        return table[self.objects]


def read_polygons(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    field: str,
    *,
    join: Mapping[str, str] | None = None,
    layer: str | None = None,
    encoding: str | None = None,
    crs: CRS | None = None,
) -> Polygons:
    """Read the polygons and points of shapefiles, GeoJSON or GeoPackages with the class in `field`.

    join    {"csv": path, "on": column}: a table whose column `on`, found in the vector file too,
            gives each polygon its row; `field` may then be a column of the table
    layer   of a GeoPackage with several
    encoding  of a shapefile's text, where its files say none or a wrong one
    crs     of files that state none, or degrees for coordinates that are none

    What has no row or no code is left out and counted. Raises FileError for files that
    cannot be read, LabelError for a field or column that does not exist.
    """
    several = not isinstance(paths, str | os.PathLike)
    files = [Path(path) for path in paths] if several else [Path(paths)]  # type: ignore[union-attr, arg-type]
    counts = dict.fromkeys(("read", "unusable", "without_row", "without_code", "repeated_rows"), 0)
    table = None
    if join is not None:
        table, on = _read_join(join, field, counts)
    shapes: list[Any] = []
    codes: list[Code] = []
    origins: list[int] = []
    systems: list[CRS | None] = []
    for number, file in enumerate(files):
        vector = read_vector(file, layer, encoding=encoding, crs=crs)
        geometries, columns = vector.shapes, vector.fields
        systems.append(vector.crs)
        if table is not None:
            keys = [_text(key) for key in _column(file, columns, on)]
            found = [table.get(key) for key in keys]
            if field not in table.columns:
                found = list(_column(file, columns, field))
        else:
            keys = [""] * len(geometries)
            found = list(_column(file, columns, field))
        for geometry, key, value in zip(geometries, keys, found, strict=True):
            counts["read"] += 1
            usable = usable_parts(geometry)
            if usable is None:
                counts["unusable"] += 1
            elif table is not None and key not in table:
                counts["without_row"] += 1
            elif (code := _code(value)) is None:
                counts["without_code"] += 1
            else:
                shapes.append(usable)
                codes.append(code)
                origins.append(number)
    polygons = np.array(shapes, dtype=object)
    broken = ~shapely.is_valid(polygons)
    polygons[broken] = shapely.buffer(shapely.make_valid(polygons[broken]), 0)  # drops loose lines
    return Polygons(polygons, tuple(codes), np.array(origins, int), tuple(systems), counts)


def burn(
    polygons: Polygons,
    grid: Grid,
    *,
    overlap: Overlap = "smallest",
    all_touched: bool = False,
) -> Burned:
    """Rasterise polygons onto a grid, reprojected to its CRS; what has no CRS is taken to be in it.

    A point owns the pixel it lies in; where pixels go to the smallest, points come before polygons.

    overlap      who owns a pixel that lies in several: the 'smallest' or 'largest' by area, the
                 'first' or 'last' of the files, or with 'ignore' nobody
    all_touched  every pixel a polygon touches is its own, not only those whose centre it holds

    Raises GridMismatch for a grid without a transform, or without a CRS where polygons have one
    in degrees.
    """
    if overlap not in OVERLAPS:
        raise ConfigError(f"`overlap` is {overlap!r}; it is one of {', '.join(OVERLAPS)}")
    if not grid.georeferenced:
        raise GridMismatch(
            f"polygons need a place and the grid ({grid}) has no transform; "
            "use a raster of labels, or a reference layer with a transform"
        )
    shapes = _reproject(polygons, grid)
    bounds = shapely.box(*grid.bounds)
    near = np.flatnonzero(shapely.intersects(shapes, bounds))
    area = shapely.area(shapes[near])
    order = {
        "smallest": np.argsort(-area, kind="stable"),
        "largest": np.argsort(area, kind="stable"),
        "first": np.arange(len(near))[::-1],
        "last": np.arange(len(near)),
        "ignore": np.arange(len(near)),
    }[overlap]  # who is burned later owns the pixel
    size = {"out_shape": (grid.height, grid.width), "transform": grid.transform}
    objects = np.zeros((grid.height, grid.width), np.int32)
    covered = np.zeros((grid.height, grid.width), np.int32)
    if len(near):
        ordered = [(shapes[near[i]], int(i) + 1) for i in order]
        objects = features.rasterize(ordered, **size, all_touched=all_touched, dtype="int32")
        ones = [(shapes[i], 1) for i in near]
        covered = features.rasterize(
            ones, **size, all_touched=all_touched, dtype="int32", merge_alg=MergeAlg.add
        )
    if overlap == "ignore":
        objects[covered > 1] = 0
    kept = np.unique(objects)
    kept = kept[kept > 0]
    renumber = np.zeros(len(near) + 1, np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    numbers = tuple(int(near[i - 1]) for i in kept)
    return Burned(
        objects=renumber[objects],
        codes=tuple(polygons.codes[i] for i in numbers),
        numbers=numbers,
        near=tuple(int(number) for number in near),
        counts={
            "polygons": len(kept),
            "outside": len(shapes) - len(near),
            "without_pixels": len(near) - len(kept),
            "overlapped_pixels": int((covered > 1).sum()),
        },
    )


def _reproject(polygons: Polygons, grid: Grid) -> np.ndarray:
    shapes = polygons.shapes.copy()
    for number, crs in enumerate(polygons.crs):
        if crs is None or crs == grid.crs:
            continue
        if grid.crs is None:
            if crs.is_geographic:
                raise GridMismatch(
                    f"polygons are in {crs.to_string()} and the grid ({grid}) has no CRS; "
                    "state it with `crs:`"
                )
            continue
        mine = polygons.files == number

        def moved(points: np.ndarray, crs: CRS = crs) -> np.ndarray:
            x, y = warp_points(crs, grid.crs, points[:, 0], points[:, 1])
            return np.column_stack([x, y])

        try:
            shapes[mine] = shapely.transform(shapes[mine], moved)
        except (CPLE_BaseError, shapely.errors.GEOSException) as error:
            raise GridMismatch(
                f"polygons in {crs.to_string()} cannot be brought to {grid.crs.to_string()}: "
                f"{' '.join(str(error).split())}; is `crs:` right?"
            ) from error
    return _beside_the_dateline(shapes, grid)


def _beside_the_dateline(shapes: np.ndarray, grid: Grid) -> np.ndarray:
    """Polygons in degrees, those a turn of the Earth away from the grid brought to it.

    Raises GridMismatch for one wider than half the Earth: it was cut at the dateline wrongly.
    """
    if grid.crs is None or not grid.crs.is_geographic or not len(shapes):
        return shapes
    left, _, right, _ = shapely.bounds(shapes).T
    if (right - left > 180).any():
        raise GridMismatch(
            f"{int((right - left > 180).sum())} polygons are more than 180° wide: they cross the "
            "dateline, and their file does not cut them there; cut them (ogr2ogr -wrapdateline)"
        )
    west, _, east, _ = grid.bounds
    shapes = shapes.copy()
    for turn in (360.0, -360.0):
        outside = (right < west) | (left > east)
        meets = outside & (right + turn > west) & (left + turn < east)
        for i in np.flatnonzero(meets):
            shapes[i] = shapely.affinity.translate(shapes[i], xoff=turn)
    return shapes


class _Table(dict[str, Any]):
    """Key to value, and the names of the columns."""

    columns: tuple[str, ...] = ()


def _read_join(join: Mapping[str, str], field: str, counts: dict[str, int]) -> tuple[_Table, str]:
    if set(join) != {"csv", "on"}:
        raise ConfigError(f"`join` has keys {', '.join(join) or 'none'}; it takes `csv` and `on`")
    path, on = Path(join["csv"]), join["on"].strip()
    read = read_table(path, on)
    if on not in read.columns:
        names = ", ".join(read.columns[:20]) or "none"
        raise LabelError(f"{path} has no column {on!r} to join on; it has {names}")
    table = _Table()
    table.columns = read.columns
    for row in read.rows:
        key = _text(row.get(on, ""))
        if key in table:
            counts["repeated_rows"] += 1
        else:
            table[key] = row.get(field)
    return table, on


def _column(path: Path, columns: dict[str, Any], name: str) -> np.ndarray:
    if name not in columns:
        raise LabelError(f"{path} has no field {name!r}; it has {', '.join(columns) or 'none'}")
    return columns[name]


def _text(value: Any) -> str:
    """A key as both files write it: 7, 7.0 and ' 7 ' are the same."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def _code(value: Any) -> Code | None:
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return None
    if isinstance(value, int | np.integer | bool | np.bool_):
        return int(value)
    if isinstance(value, float | np.floating):
        return int(value) if float(value).is_integer() else str(value)
    text = str(value).strip()
    if text.lstrip("+-").isdecimal():
        return int(text)
    return text or None
