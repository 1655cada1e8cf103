"""The class of each parcel of a vector layer, by the pixels of a map whose centre it holds.

Parcels may overlap: a pixel counts in each that holds it. A parcel without a pixel of the map that
has a class gets no class, and why is counted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from rasterio import features
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from bandweave.errors import GridMismatch, LabelError
from bandweave.landcover.areas.sample import read_map_grid
from bandweave.landcover.areas.within import check_place, explain_apart
from bandweave.landcover.maps.files import check_map, find_confidence
from bandweave.local_files import split_key
from bandweave.raster.formats.gdal.categories import read_categories
from bandweave.raster.formats.gdal.source import open_dataset
from bandweave.raster.grid import Grid, Window
from bandweave.raster.polygons import bring_to_grid, pick_areas, windows_around
from bandweave.raster.reader import VectorReader
from bandweave.raster.readers import recognise
from bandweave.raster.vectors import Vector
from bandweave.raster.writing.geopackage import BATCH, GeoPackageWriter, check_geopackage
from bandweave.raster.writing.outputs import OutputSet
from bandweave.training.progress import Progress

ADDED = ("map_code", "map_class", "map_share", "map_confidence", "map_pixels")
LAYER = "parcels"
SIDE = 1024  # px of a map that are read at once


@dataclass(frozen=True)
class ParcelCounts:
    """How many parcels got a class, and why others got none.

    classified  with a class
    shapeless   features that are no polygons
    outside     beside the map
    small       without a pixel's centre
    empty       whose pixels have no data
    """

    classified: int
    shapeless: int
    outside: int
    small: int
    empty: int

    @property
    def parcels(self) -> int:
        """All of them."""
        return self.classified + self.shapeless + self.outside + self.small + self.empty

    def __str__(self) -> str:
        others = {
            "outside of the map": self.outside,
            "too small for a pixel's centre": self.small,
            "without data in the map": self.empty,
            "that are no polygons": self.shapeless,
        }
        without = "".join(f", {number:,} {why}" for why, number in others.items() if number)
        return f"{self.parcels:,} parcels: {self.classified:,} with a class{without}"


@dataclass(frozen=True)
class _Answer:
    """What a map says of a parcel; `code` is -1 for nothing."""

    code: int = -1
    share: float = np.nan
    confidence: float = np.nan
    pixels: int = 0
    reason: str = ""


def classify_parcels(
    map_path: str | os.PathLike[str],
    parcels: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    confidence: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> ParcelCounts:
    """Write parcels with the class that most of their pixels have on a map; returns how many.

    The features are those of the parcels' file, in its order and CRS, with their attributes and
    five more: `map_code` and `map_class` of the class, `map_share` of the pixels with that class,
    `map_confidence`, the mean over the parcel, and `map_pixels`, the pixels that have a class.
    Of classes with as many pixels the lower code is taken. A parcel without a pixel gets no values.

    map_path    a raster of class codes, such as `map_scene` writes
    parcels     a vector file of polygons; FILE:LAYER where it has several layers
    out         the GeoPackage to write
    confidence  a raster on the map's grid; by default the one that `map_scene` wrote beside the map
    overwrite   a file that stands there may be replaced
    quiet       no progress

    Raises FileError for files that are no map or have no polygon, GridMismatch where no parcel
    touches the map, LabelError for parcels that have one of the five attributes already.
    """
    check_geopackage(out)
    path, layer = split_key(parcels)
    sure = find_confidence(Path(map_path)) if confidence is None else Path(confidence)
    inputs = [map_path, path, *([] if sure is None else [sure])]
    with OutputSet(overwrite=overwrite, inputs=inputs) as outputs:
        outputs.check(out)
        grid = read_map_grid(map_path)
        if sure is not None:
            check_map(sure, grid)
        vector = recognise(path, VectorReader).read(Path(path), layer)
        _check_fields(path, vector)
        answers = _ask(Path(map_path), grid, sure, vector, path, quiet)
        names = read_categories(Path(map_path)).names
        writer = GeoPackageWriter(Path(out), outputs, _choose_kind(vector.shapes))
        for first in range(0, max(len(answers), 1), BATCH):
            _write(writer, vector, answers, names, slice(first, first + BATCH))
    reasons = [answer.reason for answer in answers]
    return ParcelCounts(*map(reasons.count, ("", "shapeless", "outside", "small", "empty")))


def _check_fields(path: str | os.PathLike[str], vector: Vector) -> None:
    taken = [name for name in vector.fields if name.lower() in ADDED]
    if taken:
        raise LabelError(
            f"{path} has the attribute {taken[0]} already; rename or drop it, since the parcels "
            f"get {', '.join(ADDED)}"
        )


def _ask(
    map_path: Path,
    grid: Grid,
    confidence: Path | None,
    vector: Vector,
    path: str | os.PathLike[str],
    quiet: bool,
) -> list[_Answer]:
    """Ask the map about each parcel, neighbours one after the other."""
    polygons = pick_areas(vector, path)
    check_place(grid, f"{path}", polygons, "the map")
    shapes = bring_to_grid(polygons, grid)
    windows = windows_around(shapes, grid)
    if not any(windows):
        raise GridMismatch(explain_apart(path, polygons, grid, "the map"))
    answers = [_Answer(reason="shapeless")] * len(vector.shapes)
    for number in polygons.codes:
        answers[int(number)] = _Answer(reason="outside")
    order = sorted(
        (window.row // SIDE, window.col // SIDE, index)
        for index, window in enumerate(windows)
        if window is not None
    )
    with (
        open_dataset(str(map_path)) as codes,
        Progress("parcels", len(order), quiet=quiet) as progress,
    ):
        sure = None if confidence is None else open_dataset(str(confidence))
        for _, _, index in order:
            window = windows[index]
            assert window is not None
            answers[int(polygons.codes[index])] = _count(codes, sure, grid, shapes[index], window)
            progress.advance()
        if sure is not None:
            sure.close()
    return answers


def _count(
    codes: DatasetReader,
    sure: DatasetReader | None,
    grid: Grid,
    shape: shapely.Geometry,
    window: Window,
) -> _Answer:
    """Count the pixels of each class in a parcel."""
    counts: dict[int, int] = {}
    total, centres = 0.0, 0
    for piece in window.divide(SIDE):
        place = RasterioWindow(piece.col, piece.row, piece.width, piece.height)
        inside = features.rasterize(
            [shape],
            out_shape=(piece.height, piece.width),
            transform=grid.crop(piece).transform,
            dtype="uint8",
        ).astype(bool)
        centres += int(inside.sum())
        values = codes.read(1, window=place)
        inside &= values != codes.nodata
        found, numbers = np.unique(values[inside], return_counts=True)
        for code, number in zip(found.tolist(), numbers.tolist(), strict=True):
            counts[code] = counts.get(code, 0) + number
        if sure is not None and len(found):
            total += float(sure.read(1, window=place)[inside].sum(dtype=np.float64))
    if not counts:
        return _Answer(reason="empty" if centres else "small")
    pixels = sum(counts.values())
    code = min(counts, key=lambda each: (-counts[each], each))
    mean = np.nan if sure is None else total / pixels
    return _Answer(code, counts[code] / pixels, mean, pixels)


def _write(
    writer: GeoPackageWriter,
    vector: Vector,
    answers: list[_Answer],
    names: Mapping[int, str],
    some: slice,
) -> None:
    own = answers[some]
    fields, missing = {}, {}
    for name, values in vector.fields.items():
        fields[name] = values[some]
        if name in vector.whole and values.dtype.kind == "f":  # numbers are missing
            missing[name] = np.isnan(fields[name])
            fields[name] = np.where(missing[name], 0, fields[name]).astype(np.int64)
    nothing = np.array([answer.code < 0 for answer in own], bool)
    fields["map_code"] = np.array([answer.code for answer in own], np.int32)
    fields["map_class"] = np.array([names.get(answer.code) for answer in own], object)
    fields["map_share"] = np.array([answer.share for answer in own], np.float64)
    fields["map_confidence"] = np.array([answer.confidence for answer in own], np.float64)
    fields["map_pixels"] = np.array([answer.pixels for answer in own], np.int64)
    writer.write(LAYER, vector.crs, vector.shapes[some], fields, missing | {"map_code": nothing})


def _choose_kind(shapes: np.ndarray) -> str:
    """The type of geometry that all features have, several of one kind for mixed ones."""
    kinds = {shape.geom_type for shape in shapes if shape is not None}
    if kinds <= {"Polygon"}:
        return "Polygon"
    return "MultiPolygon" if kinds <= {"Polygon", "MultiPolygon"} else "Unknown"
