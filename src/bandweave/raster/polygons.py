"""Polygons and points with a class, read from vector files and burned onto a grid."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
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

from bandweave.errors import ConfigError, FileError, GridMismatch, LabelError
from bandweave.raster.grid import Grid, Window
from bandweave.raster.reader import VectorReader
from bandweave.raster.readers import recognise
from bandweave.raster.vectors import Vector, pick_usable_parts, read_table

Overlap = Literal["smallest", "largest", "first", "last", "ignore"]
OVERLAPS = ("smallest", "largest", "first", "last", "ignore")
Code = str | int
_ROUNDING = 1e-6  # px
_STEP, _STEP_DEGREES = 1000.0, 0.01  # of an edge that is bent by less than 2 cm
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*|,0{1,2}|,0{4,})?")  # 1,000 may be a thousand


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
    notes    how text was read where files do not say it, and what of collections was left out
    """

    shapes: np.ndarray
    codes: tuple[Code, ...]
    files: np.ndarray
    crs: tuple[CRS | None, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """The shapes' name in messages: 'polygons', 'points', or 'shapes' where there are both."""
        return name_shapes(
            "points" if "Point" in shape.geom_type else "polygons" for shape in self.shapes
        )


def name_shapes(kinds: Iterable[str]) -> str:
    """Name shapes of several kinds: by their one kind, or 'shapes'."""
    distinct = set(kinds)
    return distinct.pop() if len(distinct) == 1 else "shapes"


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
    join: Mapping[str, str | None] | None = None,
    layer: str | None = None,
    encoding: str | None = None,
    crs: CRS | None = None,
) -> Polygons:
    """Read the polygons and points of shapefiles, GeoJSON or GeoPackages with the class in `field`.

    join      {"csv": path, "on": column}: a table whose column `on`, found in the vector file too,
              gives each polygon its row; `field` may then be a column of the table. Its `encoding`
              may stand with it
    layer     of a GeoPackage with several
    encoding  of a shapefile's text, where its files say none or a wrong one
    crs       of files that state none, or degrees for coordinates that are none

    What has no row or no code is left out and counted. Raises FileError for files that
    cannot be read, LabelError for a field or column that does not exist.
    """
    several = not isinstance(paths, str | os.PathLike)
    files = [Path(path) for path in paths] if several else [Path(paths)]  # type: ignore[union-attr, arg-type]
    counts = dict.fromkeys(("read", "unusable", "without_row", "without_code", "repeated_rows"), 0)
    field, notes, pieces = field.strip(), list[str](), 0
    table = None
    if join is not None:
        table, on = _read_join(join, field, counts, notes)
    shapes: list[Any] = []
    codes: list[Code] = []
    origins: list[int] = []
    systems: list[CRS | None] = []
    for number, file in enumerate(files):
        vector = recognise(file, VectorReader).read(file, layer, encoding=encoding, crs=crs)
        geometries, columns = vector.shapes, vector.fields
        systems.append(vector.crs)
        if vector.note:
            notes.append(vector.note)
        if table is not None:
            keys = [_read_key(key) for key in _get_column(file, columns, on, None)]
            found = [table.get(key) for key in keys]
            if field not in table.columns:
                found = list(_get_column(file, columns, field, table))
        else:
            keys = [""] * len(geometries)
            found = list(_get_column(file, columns, field, None))
        for geometry, key, value in zip(geometries, keys, found, strict=True):
            counts["read"] += 1
            usable, left_out = pick_usable_parts(geometry)
            if usable is None:
                counts["unusable"] += 1
            elif table is not None and key not in table:
                counts["without_row"] += 1
            elif (code := _read_code(value)) is None:
                counts["without_code"] += 1
            else:
                pieces += left_out
                shapes.append(usable)
                codes.append(code)
                origins.append(number)
    if table and counts["read"] and counts["without_row"] == counts["read"]:
        raise LabelError(
            f"no {on!r} of {files[0]} ({', '.join(keys[:3])}, …) is among those of the table "
            f"({', '.join(list(table)[:3])}, …); do they name the same things?"
        )
    if pieces:
        notes.append(f"{pieces} lines, or points beside polygons, in collections left out")
    polygons = _mend(np.array(shapes, dtype=object))
    return Polygons(
        polygons, tuple(codes), np.array(origins, int), tuple(systems), counts, tuple(notes)
    )


def pick_areas(vector: Vector, path: str | os.PathLike[str]) -> Polygons:
    """Pick the polygons of a vector file, whatever they are; codes are numbers of features, from 0.

    Features that are no polygons are left out and counted. Raises FileError where none is one.
    """
    pairs = [(number, pick_usable_parts(shape)[0]) for number, shape in enumerate(vector.shapes)]
    pairs = [(number, shape) for number, shape in pairs if shape and "Polygon" in shape.geom_type]
    if not pairs:
        raise FileError(
            f"{path} has no polygon among its {len(vector.shapes)} features; give a file "
            f"with polygons"
        )
    codes, shapes = zip(*pairs, strict=True)
    return Polygons(
        _mend(np.array(shapes, dtype=object)),
        codes,
        np.zeros(len(codes), int),
        (vector.crs,),
        {"read": len(vector.shapes), "unusable": len(vector.shapes) - len(codes)},
        (vector.note,) if vector.note else (),
    )


def _mend(shapes: np.ndarray) -> np.ndarray:
    """Make polygons valid; loose lines that this leaves are dropped."""
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.buffer(shapely.make_valid(shapes[broken]), 0)
    return shapes


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
    shapes = bring_to_grid(polygons, grid)
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


def bring_to_grid(polygons: Polygons, grid: Grid) -> np.ndarray:
    """Bring polygons to the CRS of a grid; what has no CRS is taken to be in it.

    Long edges get vertices between, as a straight line is none in another projection.

    Raises GridMismatch where they cannot be brought there.
    """
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

        def move(points: np.ndarray, crs: CRS = crs) -> np.ndarray:
            x, y = warp_points(crs, grid.crs, points[:, 0], points[:, 1])
            return np.column_stack([x, y])

        if not (crs.is_geographic and grid.crs.is_geographic):
            shapes[mine] = shapely.segmentize(
                shapes[mine], _STEP_DEGREES if crs.is_geographic else _STEP
            )
        try:
            shapes[mine] = shapely.transform(shapes[mine], move)
        except (CPLE_BaseError, shapely.errors.GEOSException) as error:
            raise GridMismatch(
                f"polygons in {crs.to_string()} cannot be brought to {grid.crs.to_string()}: "
                f"{' '.join(str(error).split())}; is `crs:` right?"
            ) from error
    return _turn_to_grid(shapes, grid)


def windows_around(shapes: np.ndarray, grid: Grid) -> list[Window | None]:
    """The pixels of a grid that hold each polygon; None for one that does not touch the grid.

    shapes  in the CRS of the grid; a polygon that ends on the border of a pixel ends there
    """
    found: list[Window | None] = [None] * len(shapes)
    finite = np.isfinite(shapely.bounds(shapes)).all(axis=1)
    near = finite & shapely.intersects(shapes, shapely.polygons(grid.corners))
    back = ~grid.transform

    def to_pixels(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        return np.column_stack([back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f])

    bounds = shapely.bounds(shapely.transform(shapes[near], to_pixels))
    first, last = np.floor(bounds[:, :2] + _ROUNDING), np.ceil(bounds[:, 2:] - _ROUNDING)
    for index, (col, row), (beyond, below) in zip(
        np.flatnonzero(near), first.astype(int), last.astype(int), strict=True
    ):
        window = Window(int(row), int(col), int(below - row), int(beyond - col))
        found[index] = window.clip(grid.height, grid.width)
    return found


def _turn_to_grid(shapes: np.ndarray, grid: Grid) -> np.ndarray:
    """Bring polygons in degrees that lie a turn of the Earth away from the grid to it.

    Raises GridMismatch for polygons that cross the dateline and are not cut there.
    """
    if grid.crs is None or not grid.crs.is_geographic or not len(shapes):
        return shapes
    uncut = sum(_crosses_dateline(shape) for shape in shapes)
    if uncut:
        raise GridMismatch(
            f"{uncut} polygons have edges more than 180° long: they cross the dateline, and "
            "their file does not cut them there; cut them (ogr2ogr -wrapdateline)"
        )
    west, _, east, _ = grid.bounds
    turned = shapes.copy()
    for i, shape in enumerate(shapes):
        pieces = list(getattr(shape, "geoms", [shape]))
        move = [_turn(piece, west, east) for piece in pieces]
        if any(new is not old for new, old in zip(move, pieces, strict=True)):
            several = shapely.multipoints if "Point" in shape.geom_type else shapely.multipolygons
            turned[i] = several(move) if hasattr(shape, "geoms") else move[0]
    return turned


def _crosses_dateline(shape: Any) -> bool:
    """An edge goes more than half around the Earth; one all around it lies along a pole."""
    if "Polygon" not in shape.geom_type:
        return False
    for ring in shapely.get_rings(shape):
        long = np.abs(np.diff(shapely.get_coordinates(ring)[:, 0]))
        if ((long > 180) & (long < 360 - 1e-9)).any():
            return True
    return False


def _turn(piece: Any, west: float, east: float) -> Any:
    """Give the piece back, or where only that lies between west and east, the same a turn away."""
    left, _, right, _ = piece.bounds
    if right <= west or left >= east:
        for turn in (360.0, -360.0):
            if right + turn > west and left + turn < east:
                return shapely.affinity.translate(piece, xoff=turn)
    return piece


class _Joined(dict[str, Any]):
    """Key to value, and the names of the columns."""

    columns: tuple[str, ...] = ()


def _read_join(
    join: Mapping[str, str | None], field: str, counts: dict[str, int], notes: list[str]
) -> tuple[_Joined, str]:
    """The values of `field` by the key, whose column's name follows."""
    if not {"csv", "on"} <= set(join) <= {"csv", "on", "encoding"}:
        raise ConfigError(
            f"`join` has keys {', '.join(join) or 'none'}; it takes `csv` and `on`, and may have "
            "`encoding`"
        )
    path, on = Path(str(join["csv"])), str(join["on"]).strip()
    read = read_table(path, on, encoding=join.get("encoding"), wanted=field)
    if on not in read.columns:
        raise LabelError(f"{path} has no column {on!r} to join on{_list_columns(on, read.columns)}")
    if read.note:
        notes.append(read.note)
    table = _Joined()
    table.columns = read.columns
    for row in read.rows:
        key = _read_key(row.get(on, ""))
        if key in table:
            counts["repeated_rows"] += 1
        else:
            table[key] = row.get(field)
    return table, on


def _list_columns(name: str, columns: Sequence[str]) -> str:
    """Write the end of a message: the nearest column, and which there are."""
    close = difflib.get_close_matches(name.casefold(), [each.casefold() for each in columns], 1)
    near = next((each for each in columns if close and each.casefold() == close[0]), None)
    shown = ", ".join(columns[:20]) + (f" and {len(columns) - 20} more" if columns[20:] else "")
    return f"; it has {shown or 'none'}" + (f"; did you mean {near!r}?" if near else "")


def _get_column(
    path: Path, columns: dict[str, Any], name: str, joined: _Joined | None
) -> np.ndarray:
    if name not in columns:
        if joined is None:
            raise LabelError(f"{path} has no field {name!r}{_list_columns(name, list(columns))}")
        known = list(dict.fromkeys([*joined.columns, *columns]))
        raise LabelError(
            f"the table joined with {path} has no column {name!r}{_list_columns(name, known)}"
        )
    return columns[name]


def _read_key(value: Any) -> str:
    """Read a key as both files write it: 7, 7.0, '7,0' and ' 7 ' are one, and '007' is another."""
    text = str(value).strip()
    whole = None if re.match(r"[+-]?0\d", text) else _read_whole(value)
    return text if whole is None else str(whole)


def _read_whole(value: Any) -> int | None:
    """Read the whole number that a number or a text is, with or without decimals that are zeros."""
    if isinstance(value, float | np.floating):
        return int(value) if float(value).is_integer() else None
    if isinstance(value, int | np.integer | bool | np.bool_):
        return int(value)
    found = _WHOLE.fullmatch(str(value).strip())
    return int(found[1]) if found else None


def _read_code(value: Any) -> Code | None:
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return None
    whole = _read_whole(value)
    return (str(value).strip() or None) if whole is None else whole
