"""Polygons and points with a class, read from vector files and burned onto a grid."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from rasterio import features
from rasterio.crs import CRS
from rasterio.enums import MergeAlg
from rasterio.errors import CRSError
from rasterio.warp import transform as warp_points

from bandweave.errors import ConfigError, FileError, GridMismatch, LabelError
from bandweave.raster.grid import Grid

Overlap = Literal["smallest", "largest", "first", "last", "ignore"]
OVERLAPS = ("smallest", "largest", "first", "last", "ignore")
Code = str | int
USABLE = ("Polygon", "MultiPolygon", "Point", "MultiPoint")


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
) -> Polygons:
    """Read the polygons and points of shapefiles, GeoJSON or GeoPackages with the class in `field`.

    join    {"csv": path, "on": column}: a table whose column `on`, found in the vector file too,
            gives each polygon its row; `field` may then be a column of the table
    layer   of a GeoPackage with several

    What has no row or no code is left out and counted. Raises FileError for files that
    cannot be read, LabelError for a field or column that does not exist.
    """
    several = not isinstance(paths, str | os.PathLike)
    files = [Path(path) for path in paths] if several else [Path(paths)]  # type: ignore[union-attr, arg-type]
    counts = dict.fromkeys(("read", "unusable", "without_row", "without_code", "repeated_rows"), 0)
    table = None
    if join is not None:
        table, on = _read_table(join, field, counts)
    shapes: list[Any] = []
    codes: list[Code] = []
    origins: list[int] = []
    systems: list[CRS | None] = []
    for number, file in enumerate(files):
        geometries, columns, crs = _read_vector(file, layer)
        systems.append(crs)
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
            if geometry is None or geometry.is_empty or geometry.geom_type not in USABLE:
                counts["unusable"] += 1
            elif table is not None and key not in table:
                counts["without_row"] += 1
            elif (code := _code(value)) is None:
                counts["without_code"] += 1
            else:
                shapes.append(geometry)
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

        shapes[mine] = shapely.transform(shapes[mine], moved)
    return shapes


class _Table(dict[str, Any]):
    """Key to value, and the names of the columns."""

    columns: tuple[str, ...] = ()


def _read_table(join: Mapping[str, str], field: str, counts: dict[str, int]) -> tuple[_Table, str]:
    if set(join) != {"csv", "on"}:
        raise ConfigError(f"`join` has keys {', '.join(join) or 'none'}; it takes `csv` and `on`")
    path, on = Path(join["csv"]), join["on"]
    table = _Table()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            table.columns = tuple(reader.fieldnames or ())
            if on not in table.columns:
                raise LabelError(
                    f"{path} has no column {on!r} to join on; it has {', '.join(table.columns)}"
                )
            for row in reader:
                key = _text(row[on])
                if key in table:
                    counts["repeated_rows"] += 1
                else:
                    table[key] = row.get(field)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path} cannot be read as a CSV table: {error}") from error
    return table, on


def _read_vector(path: Path, layer: str | None) -> tuple[np.ndarray, dict[str, Any], CRS | None]:
    import pyogrio
    import pyogrio.errors

    if not path.exists():
        raise FileError(f"{path} does not exist")
    try:
        names = [name for name, _ in pyogrio.list_layers(path)]
        if layer is None and len(names) > 1:
            raise FileError(f"{path} has layers {', '.join(names)}; choose one with `layer`")
        meta, _, geometry, values = pyogrio.raw.read(path, layer=layer)
        crs = CRS.from_user_input(meta["crs"]) if meta["crs"] else None
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, CRSError) as error:
        raise FileError(f"{path} cannot be read as vector data: {error}") from error
    if geometry is None:
        raise FileError(f"{path} has no geometries")
    shapes = shapely.force_2d(shapely.from_wkb(geometry, on_invalid="ignore"))
    return shapes, dict(zip(meta["fields"], values, strict=True)), crs


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
